"""Collection: how the invoices of a subscription are paid, and when they are due."""

from enum import StrEnum


class CollectionMethod(StrEnum):
    """Who moves first when an invoice is due."""

    CHARGE_AUTOMATICALLY = "charge_automatically"
    SEND_INVOICE = "send_invoice"


class PaymentBehavior(StrEnum):
    """What an unpaid opening invoice does to its subscription."""

    ALLOW_INCOMPLETE = "allow_incomplete"
    DEFAULT_INCOMPLETE = "default_incomplete"
    ERROR_IF_INCOMPLETE = "error_if_incomplete"
    DEFAULT_ACTIVE = "default_active"


class PaymentTerms(StrEnum):
    """How long after its period an invoice is due."""

    NET_15 = "15 NET"
    NET_30 = "30 NET"
    NET_45 = "45 NET"
    NET_60 = "60 NET"
    NET_75 = "75 NET"
    NET_90 = "90 NET"
    END_OF_MONTH = "END_OF_MONTH"
    END_OF_NEXT_MONTH = "END_OF_NEXT_MONTH"
