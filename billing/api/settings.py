"""Settings of an environment: read over their defaults, changed member by member (platform.md 7)."""

from collections.abc import Mapping

from billing.api.reading import read
from billing.api.routing import Built, Call
from billing.api.wire import Answer, shown
from billing.settings import key_of
from schemas.api.answers.settings import SettingResponse
from schemas.api.requests.settings import UpdateSettingRequest
from schemas.setting import Setting
from schemas.stored import Status


def setting_answer(call: Call, setting: Setting) -> SettingResponse:
    """Return a setting as an answer; one that nobody wrote has no instants."""
    return SettingResponse(
        id=setting.key.value,
        tenant_id=call.scope.tenant_id,
        environment_id=call.scope.environment_id,
        status=Status.PUBLISHED,
        created_at=setting.created_at,
        updated_at=setting.updated_at,
        created_by=setting.created_by,
        updated_by=setting.updated_by,
        key=setting.key.value,
        value=dict(setting.value),
    )


def read_setting(call: Call) -> Answer:
    """Read a setting: what was stored over its defaults."""
    key = key_of(call.parameters["key"])
    return shown(setting_answer(call, call.environment.settings.get(key)))


def change_setting(call: Call) -> Answer:
    """Change members of a setting; the whole is judged, and nothing changes if it is refused."""
    key = key_of(call.parameters["key"])
    asked = read(UpdateSettingRequest, call.json)
    changed = call.environment.settings.put(key, asked.value, call.services.clock(), call.caller)
    return shown(setting_answer(call, changed))


BUILT: Mapping[tuple[str, str], Built] = {
    ("GET", "/v1/settings/{key}"): Built(read_setting, gives=SettingResponse),
    ("PUT", "/v1/settings/{key}"): Built(
        change_setting, takes=UpdateSettingRequest, gives=SettingResponse
    ),
}
