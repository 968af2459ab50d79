"""Changing the settings of an environment: members are replaced, then the whole is judged."""

from collections.abc import Mapping
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from billing.alerts.levels import check_settings
from schemas.errors import NotFound, ValidationFailed
from schemas.setting import SHAPES, Setting, SettingKey, WalletAlertConfig, as_json


def key_of(text: str) -> SettingKey:
    """Return the key that a text is. Raises NotFound.

    >>> key_of("invoice_config").value
    'invoice_config'
    """
    try:
        return SettingKey(text)
    except ValueError:
        raise NotFound(f"there is no setting {text!r}; known are {', '.join(SettingKey)}") from None


def unwritten(key: SettingKey) -> Setting:
    """Return a setting that nobody has set: its defaults.

    >>> unwritten(SettingKey.WEBHOOK).value
    {'allow_private_urls': False}
    """
    return Setting(key, value_of(key, {}), {})


def value_of(key: SettingKey, members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole value: what was stored over the defaults, as JSON.

    >>> value_of(SettingKey.SUBSCRIPTION, {"grace_period_days": 5})["auto_cancellation_enabled"]
    False
    """
    value: dict[str, Any] = as_json(SHAPES[key].model_validate(dict(members)).model_dump())
    return value


def merged(key: SettingKey, members: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that are set once a change has been made, as JSON.

    Top-level members are replaced; null leaves one alone, unless it may be null. Unknown ones are
    ignored. Raises ValidationFailed, with all problems in its details, for what the whole may not
    be. Source: platform.md 7.

    >>> merged(SettingKey.INVOICE, {"prefix": "A"}, {"due_date_days": None, "prefix": None})
    {'prefix': 'A', 'due_date_days': None}
    """
    shape = SHAPES[key]
    taken = {
        name: value
        for name, value in given.items()
        if name in shape.model_fields and (value is not None or _may_be_null(shape, name))
    }
    try:
        whole = shape.model_validate({**members, **taken})
    except ValidationError as error:
        raise _refused(error) from error
    if isinstance(whole, WalletAlertConfig):
        check_settings(whole.settings())
    value = as_json(whole.model_dump())
    return {name: value[name] for name in shape.model_fields if name in members or name in taken}


def _may_be_null(shape: type[BaseModel], name: str) -> bool:
    """Tell whether null says something of a member."""
    return NoneType in get_args(shape.model_fields[name].annotation)


def _refused(error: ValidationError) -> ValidationFailed:
    """Return the refusal of a value, with each problem at its member."""
    problems = [
        {
            "field": ".".join(("value", *map(str, detail["loc"]))),
            "problem": str(detail.get("ctx", {}).get("error", detail["msg"])),
        }
        for detail in error.errors(include_url=False)
    ]
    first = problems[0]
    return ValidationFailed(
        f"{first['field']}: {first['problem']}",
        field=first["field"],
        details={"fields": problems},
    )
