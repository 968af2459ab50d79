"""Requests about settings, with the fields of api-fields.md."""

from schemas.api.values import ApiUpdate


class UpdateSettingRequest(ApiUpdate):
    """Members of a setting that are to be replaced."""

    value: dict[str, object]
