"""Requests about settings, with the fields of api-fields.md."""

from schemas.api.values import ApiUpdate


class UpdateSettingRequest(ApiUpdate):
    """What a request says of: update setting."""

    value: dict[str, object]
