"""Answers about settings, with the fields of api-fields.md."""

from schemas.api.values import ApiAnswer, Record


class SettingResponse(Record):
    """A setting: what was stored over its defaults."""

    key: str
    value: dict[str, object]


class EventIngestionFilter(ApiAnswer):
    """Whose events raw intake keeps while it is enabled."""

    enabled: bool
    allowed_external_customer_ids: list[str]
