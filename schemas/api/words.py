"""The words of the API: the values of its enumerations, in answers and in requests.

Answers have them exactly as listed; requests are read in any case, window and bucket sizes apart
(api.md 1.7).
"""

from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator

from schemas.api.fields import word_of

AggregationType = Literal[
    "COUNT",
    "SUM",
    "AVG",
    "COUNT_UNIQUE",
    "LATEST",
    "SUM_WITH_MULTIPLIER",
    "MAX",
    "WEIGHTED_SUM",
    "MIN",
]
AlertCondition = Literal["above", "below"]
AlertEntityType = Literal[
    "wallet", "feature", "subscription", "subscription_line_item", "group", "entitlement_grant"
]
AlertState = Literal["ok", "info", "warning", "in_alarm"]
AlertType = Literal[
    "low_ongoing_balance",
    "low_credit_balance",
    "feature_wallet_balance",
    "subscription_spend",
    "subscription_line_item_spend",
    "subscription_group_spend",
    "entitlement_grant_threshold",
    "entitlement_grant_exhausted",
]
BillingCadence = Literal["RECURRING"]
BillingCycle = Literal["anniversary", "calendar"]
BillingModel = Literal["FLAT_FEE", "PACKAGE", "TIERED"]
BillingPeriod = Literal[
    "MONTHLY", "ANNUAL", "WEEKLY", "DAILY", "QUARTERLY", "HALF_YEARLY", "ONETIME"
]
BillingTier = Literal["VOLUME", "SLAB"]
CancelImmediatelyInvoicePolicy = Literal["generate_invoice", "skip"]
CancellationType = Literal["immediate", "end_of_period", "scheduled_date"]
CollectionMethod = Literal["charge_automatically", "send_invoice"]
CommitmentType = Literal["amount", "quantity"]
CouponCadence = Literal["once", "repeated", "forever"]
CouponType = Literal["fixed", "percentage"]
DataType = Literal["string", "number", "date", "array"]
EntitlementAggregationMode = Literal["additive", "parallel"]
EntitlementEntityType = Literal["PLAN", "SUBSCRIPTION", "ADDON"]
EntitlementGrantAllocationBehavior = Literal["first_usage", "unit_start"]
EntitlementGrantDurationUnit = Literal["hour", "day", "week", "subscription_period"]
EntitlementGrantMeasure = Literal["quantity", "amount"]
EntitlementSourceEntityType = Literal["plan", "addon", "subscription"]
EntitlementUsageResetPeriod = Literal[
    "MONTHLY", "ANNUAL", "WEEKLY", "DAILY", "QUARTERLY", "HALF_YEARLY", "NEVER"
]
ErrorCode = Literal[
    "http_client_error",
    "system_error",
    "internal_error",
    "not_found",
    "already_exists",
    "version_conflict",
    "validation_error",
    "invalid_operation",
    "permission_denied",
    "database_error",
    "service_unavailable",
    "too_many_requests",
    "not_implemented",
    "unauthorized",
]
FeatureType = Literal["metered", "boolean", "static", "config"]
FilterOperatorType = Literal[
    "eq", "contains", "not_contains", "gt", "lt", "gte", "in", "not_in", "before", "after"
]
GroupEntityType = Literal["price", "feature"]
InvoiceBillingReason = Literal[
    "SUBSCRIPTION_CREATE",
    "SUBSCRIPTION_CYCLE",
    "SUBSCRIPTION_UPDATE",
    "SUBSCRIPTION_TRIAL_END",
    "SUBSCRIPTION_TRIAL_START",
    "PRORATION",
    "MANUAL",
    "AUTO_INVOICE_THRESHOLD",
    "WALLET_AUTO_TOPUP",
    "SUBSCRIPTION_PAUSED",
    "SUBSCRIPTION_RESUME",
]
InvoiceCadence = Literal["ARREAR", "ADVANCE"]
InvoiceStatus = Literal["DRAFT", "FINALIZED", "VOIDED", "SKIPPED"]
InvoiceType = Literal["SUBSCRIPTION", "ONE_OFF", "CREDIT"]
PauseStatus = Literal["none", "active", "scheduled", "completed", "cancelled"]
PaymentBehavior = Literal[
    "allow_incomplete", "default_incomplete", "error_if_incomplete", "default_active"
]
PaymentStatus = Literal[
    "INITIATED",
    "PENDING",
    "PROCESSING",
    "SUCCEEDED",
    "OVERPAID",
    "FAILED",
    "REFUNDED",
    "PARTIALLY_REFUNDED",
    "VOIDED",
]
PaymentTerms = Literal[
    "15 NET", "30 NET", "45 NET", "60 NET", "75 NET", "90 NET", "END_OF_MONTH", "END_OF_NEXT_MONTH"
]
PriceEntityType = Literal["PLAN", "SUBSCRIPTION", "ADDON", "PRICE", "COSTSHEET"]
PriceType = Literal["USAGE", "FIXED"]
PriceUnitType = Literal["FIAT", "CUSTOM"]
ProrationBehavior = Literal["create_prorations", "none"]
ResetUsage = Literal["BILLING_PERIOD", "NEVER"]
RoundType = Literal["up", "down"]
SortDirection = Literal["asc", "desc"]
Status = Literal["published", "deleted", "archived"]
SubscriptionLineItemEntityType = Literal["plan", "addon", "subscription"]
SubscriptionStatus = Literal["active", "paused", "cancelled", "incomplete", "trialing", "draft"]
SubscriptionType = Literal[
    "standalone", "delegated_invoicing", "parent", "inherited", "grouped_invoicing"
]
TaxRateEntityType = Literal["customer", "subscription", "invoice", "tenant", "credit_note"]
TaxRateScope = Literal["INTERNAL", "EXTERNAL", "ONETIME"]
TaxRateStatus = Literal["ACTIVE", "INACTIVE"]
TaxRateType = Literal["percentage", "fixed"]
TransactionReason = Literal[
    "INVOICE_PAYMENT",
    "FREE_CREDIT_GRANT",
    "SUBSCRIPTION_CREDIT_GRANT",
    "PURCHASED_CREDIT_INVOICED",
    "PURCHASED_CREDIT_DIRECT",
    "CREDIT_NOTE",
    "CREDIT_EXPIRED",
    "WALLET_TERMINATION",
    "MANUAL_BALANCE_DEBIT",
    "CREDIT_ADJUSTMENT",
    "INVOICE_VOID_REFUND",
    "PURCHASED_CREDIT_BONUS",
]
TransactionStatus = Literal["pending", "completed", "failed"]
TransactionType = Literal["credit", "debit"]
WalletConfigPriceType = Literal["ALL", "USAGE", "FIXED"]
WalletStatus = Literal["active", "frozen", "closed"]
WalletTxReferenceType = Literal["PAYMENT", "EXTERNAL", "REQUEST", "INVOICE"]
WalletType = Literal["PRE_PAID", "POST_PAID"]
WindowSize = Literal[
    "MINUTE", "15MIN", "30MIN", "HOUR", "3HOUR", "6HOUR", "12HOUR", "DAY", "WEEK", "MONTH"
]

AggregationTypeWord = Annotated[
    AggregationType, BeforeValidator(word_of(get_args(AggregationType), cased=str.upper))
]
AlertConditionWord = Annotated[
    AlertCondition, BeforeValidator(word_of(get_args(AlertCondition), cased=str.lower))
]
AlertEntityTypeWord = Annotated[
    AlertEntityType, BeforeValidator(word_of(get_args(AlertEntityType), cased=str.lower))
]
AlertStateWord = Annotated[
    AlertState, BeforeValidator(word_of(get_args(AlertState), cased=str.lower))
]
AlertTypeWord = Annotated[AlertType, BeforeValidator(word_of(get_args(AlertType), cased=str.lower))]
BillingCadenceWord = Annotated[
    BillingCadence, BeforeValidator(word_of(get_args(BillingCadence), cased=str.upper))
]
BillingCycleWord = Annotated[
    BillingCycle, BeforeValidator(word_of(get_args(BillingCycle), cased=str.lower))
]
BillingModelWord = Annotated[
    BillingModel, BeforeValidator(word_of(get_args(BillingModel), cased=str.upper))
]
BillingPeriodWord = Annotated[
    BillingPeriod, BeforeValidator(word_of(get_args(BillingPeriod), cased=str.upper))
]
BillingTierWord = Annotated[
    BillingTier, BeforeValidator(word_of(get_args(BillingTier), cased=str.upper))
]
CancelImmediatelyInvoicePolicyWord = Annotated[
    CancelImmediatelyInvoicePolicy,
    BeforeValidator(word_of(get_args(CancelImmediatelyInvoicePolicy), cased=str.lower)),
]
CancellationTypeWord = Annotated[
    CancellationType, BeforeValidator(word_of(get_args(CancellationType), cased=str.lower))
]
CollectionMethodWord = Annotated[
    CollectionMethod, BeforeValidator(word_of(get_args(CollectionMethod), cased=str.lower))
]
CommitmentTypeWord = Annotated[
    CommitmentType, BeforeValidator(word_of(get_args(CommitmentType), cased=str.lower))
]
DataTypeWord = Annotated[DataType, BeforeValidator(word_of(get_args(DataType), cased=str.lower))]
EntitlementAggregationModeWord = Annotated[
    EntitlementAggregationMode,
    BeforeValidator(word_of(get_args(EntitlementAggregationMode), cased=str.lower)),
]
EntitlementEntityTypeWord = Annotated[
    EntitlementEntityType,
    BeforeValidator(word_of(get_args(EntitlementEntityType), cased=str.upper)),
]
EntitlementGrantAllocationBehaviorWord = Annotated[
    EntitlementGrantAllocationBehavior,
    BeforeValidator(word_of(get_args(EntitlementGrantAllocationBehavior), cased=str.lower)),
]
EntitlementGrantDurationUnitWord = Annotated[
    EntitlementGrantDurationUnit,
    BeforeValidator(word_of(get_args(EntitlementGrantDurationUnit), cased=str.lower)),
]
EntitlementGrantMeasureWord = Annotated[
    EntitlementGrantMeasure,
    BeforeValidator(word_of(get_args(EntitlementGrantMeasure), cased=str.lower)),
]
EntitlementUsageResetPeriodWord = Annotated[
    EntitlementUsageResetPeriod,
    BeforeValidator(word_of(get_args(EntitlementUsageResetPeriod), cased=str.upper)),
]
FeatureTypeWord = Annotated[
    FeatureType, BeforeValidator(word_of(get_args(FeatureType), cased=str.lower))
]
FilterOperatorTypeWord = Annotated[
    FilterOperatorType, BeforeValidator(word_of(get_args(FilterOperatorType), cased=str.lower))
]
GroupEntityTypeWord = Annotated[
    GroupEntityType, BeforeValidator(word_of(get_args(GroupEntityType), cased=str.lower))
]
InvoiceBillingReasonWord = Annotated[
    InvoiceBillingReason, BeforeValidator(word_of(get_args(InvoiceBillingReason), cased=str.upper))
]
InvoiceCadenceWord = Annotated[
    InvoiceCadence, BeforeValidator(word_of(get_args(InvoiceCadence), cased=str.upper))
]
InvoiceStatusWord = Annotated[
    InvoiceStatus, BeforeValidator(word_of(get_args(InvoiceStatus), cased=str.upper))
]
InvoiceTypeWord = Annotated[
    InvoiceType, BeforeValidator(word_of(get_args(InvoiceType), cased=str.upper))
]
PaymentBehaviorWord = Annotated[
    PaymentBehavior, BeforeValidator(word_of(get_args(PaymentBehavior), cased=str.lower))
]
PaymentStatusWord = Annotated[
    PaymentStatus, BeforeValidator(word_of(get_args(PaymentStatus), cased=str.upper))
]
PaymentTermsWord = Annotated[
    PaymentTerms, BeforeValidator(word_of(get_args(PaymentTerms), cased=str.upper))
]
PriceEntityTypeWord = Annotated[
    PriceEntityType, BeforeValidator(word_of(get_args(PriceEntityType), cased=str.upper))
]
PriceTypeWord = Annotated[PriceType, BeforeValidator(word_of(get_args(PriceType), cased=str.upper))]
PriceUnitTypeWord = Annotated[
    PriceUnitType, BeforeValidator(word_of(get_args(PriceUnitType), cased=str.upper))
]
ProrationBehaviorWord = Annotated[
    ProrationBehavior, BeforeValidator(word_of(get_args(ProrationBehavior), cased=str.lower))
]
ResetUsageWord = Annotated[
    ResetUsage, BeforeValidator(word_of(get_args(ResetUsage), cased=str.upper))
]
RoundTypeWord = Annotated[RoundType, BeforeValidator(word_of(get_args(RoundType), cased=str.lower))]
SortDirectionWord = Annotated[
    SortDirection, BeforeValidator(word_of(get_args(SortDirection), cased=str.lower))
]
StatusWord = Annotated[Status, BeforeValidator(word_of(get_args(Status), cased=str.lower))]
SubscriptionLineItemEntityTypeWord = Annotated[
    SubscriptionLineItemEntityType,
    BeforeValidator(word_of(get_args(SubscriptionLineItemEntityType), cased=str.lower)),
]
SubscriptionStatusWord = Annotated[
    SubscriptionStatus, BeforeValidator(word_of(get_args(SubscriptionStatus), cased=str.lower))
]
SubscriptionTypeWord = Annotated[
    SubscriptionType, BeforeValidator(word_of(get_args(SubscriptionType), cased=str.lower))
]
TaxRateEntityTypeWord = Annotated[
    TaxRateEntityType, BeforeValidator(word_of(get_args(TaxRateEntityType), cased=str.lower))
]
TaxRateStatusWord = Annotated[
    TaxRateStatus, BeforeValidator(word_of(get_args(TaxRateStatus), cased=str.upper))
]
TransactionReasonWord = Annotated[
    TransactionReason, BeforeValidator(word_of(get_args(TransactionReason), cased=str.upper))
]
TransactionStatusWord = Annotated[
    TransactionStatus, BeforeValidator(word_of(get_args(TransactionStatus), cased=str.lower))
]
TransactionTypeWord = Annotated[
    TransactionType, BeforeValidator(word_of(get_args(TransactionType), cased=str.lower))
]
WalletConfigPriceTypeWord = Annotated[
    WalletConfigPriceType,
    BeforeValidator(word_of(get_args(WalletConfigPriceType), cased=str.upper)),
]
WalletStatusWord = Annotated[
    WalletStatus, BeforeValidator(word_of(get_args(WalletStatus), cased=str.lower))
]
WalletTypeWord = Annotated[
    WalletType, BeforeValidator(word_of(get_args(WalletType), cased=str.upper))
]
WindowSizeWord = Annotated[WindowSize, BeforeValidator(word_of(get_args(WindowSize), cased=None))]
