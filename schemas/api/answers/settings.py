"""Answers about settings, with the fields of api-fields.md."""

from schemas.api.values import ApiAnswer, Record


class SettingResponse(Record):
    """What an answer says of: setting."""

    key: str
    value: dict[str, object]


class EventIngestionFilter(ApiAnswer):
    """What an answer says of: event ingestion."""

    enabled: bool
    allowed_external_customer_ids: list[str]
