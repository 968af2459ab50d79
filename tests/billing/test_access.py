"""Roles and what they may do, and how long a key is believed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.access import (
    BUSINESS_ENTITIES,
    ENTITIES,
    PERMISSIONS,
    STRANGERS_MAX,
    Authenticator,
    WithConfigured,
    configured_key,
    digest_of,
    display_of,
    granted_roles,
    is_live,
    permissions_of,
)
from billing.stores.memory_keys import MemoryKeys
from schemas.access import ApiKey, Principal, Role
from schemas.errors import (
    AlreadyExists,
    InvalidOperation,
    PermissionDenied,
    StoreError,
    ValidationFailed,
)
from schemas.scope import Scope

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCOPE = Scope("tenant_default", "env_development")
ALL = (Role.SUPER_ADMIN, Role.ALL_WRITER, Role.ALL_READER, Role.EVENT_INGESTOR, Role.EVENT_READER)

BUSINESS = [
    "meter", "feature", "plan", "price", "entitlement", "addon", "coupon", "tax", "customer",
    "subscription", "invoice", "credit_note", "wallet", "credit_grant", "payment", "alert",
    "webhook", "group", "cost_sheet", "integration", "export", "job",
]  # fmt: skip

# The table of platform.md 3, from the permission's side.
TABLE: list[tuple[str, set[Role]]] = [
    ("event:read", {Role.SUPER_ADMIN, Role.ALL_WRITER, Role.ALL_READER, Role.EVENT_READER}),
    ("event:write", {Role.SUPER_ADMIN, Role.ALL_WRITER, Role.EVENT_INGESTOR}),
    *(
        (f"{entity}:read", {Role.SUPER_ADMIN, Role.ALL_WRITER, Role.ALL_READER})
        for entity in BUSINESS
    ),
    *((f"{entity}:write", {Role.SUPER_ADMIN, Role.ALL_WRITER}) for entity in BUSINESS),
    *(
        (f"{entity}:{action}", {Role.SUPER_ADMIN})
        for entity in ("setting", "secret", "user", "environment", "tenant")
        for action in ("read", "write")
    ),
]


def key_of(key: str, *, name: str = "a key", roles: Sequence[Role] = (Role.ALL_READER,)) -> ApiKey:
    return ApiKey(
        f"secret_{key}", digest_of(key), display_of(key), name, SCOPE, tuple(roles), "test", NOON
    )


class Clock:
    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        return self.at

    def moves(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class CountingKeys(MemoryKeys):
    """A store that counts what it is asked, and may be away."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.noted: list[tuple[str, datetime]] = []
        self.away = False

    def key_of(self, digest: str) -> ApiKey | None:
        self.asked += 1
        if self.away:
            raise StoreError("away")
        return super().key_of(digest)

    def note_use(self, key_id: str, at: datetime) -> None:
        self.noted.append((key_id, at))
        if self.away:
            raise StoreError("away")
        super().note_use(key_id, at)


@pytest.mark.parametrize(("permission", "holders"), TABLE, ids=[row[0] for row in TABLE])
def test_a_role_may_what_the_table_says_and_nothing_else(
    permission: str, holders: set[Role]
) -> None:
    assert {role for role in Role if permission in permissions_of([role])} == holders


def test_the_table_names_every_permission_that_there_is() -> None:
    assert {row[0] for row in TABLE} == {
        f"{name}:{act}" for name in ENTITIES for act in ("read", "write")
    }
    assert len(TABLE) == 2 * len(ENTITIES) == 56
    assert set(PERMISSIONS) == set(Role)
    assert len(BUSINESS_ENTITIES) == 23


@given(st.lists(st.sampled_from(ALL)), st.lists(st.sampled_from(ALL)))
def test_another_role_never_takes_anything_away(some: list[Role], more: list[Role]) -> None:
    assert permissions_of(some) | permissions_of(more) == permissions_of(some + more)


@given(st.lists(st.sampled_from(ALL)), st.lists(st.sampled_from(ALL), min_size=1))
def test_no_key_is_given_more_than_its_creator_has(asked: list[Role], creator: list[Role]) -> None:
    try:
        roles = granted_roles(asked, creator)
    except (ValidationFailed, PermissionDenied):
        return
    assert permissions_of(roles) <= permissions_of(creator)
    assert set(roles) == set(asked)
    assert len(set(roles)) == len(roles) > 0


@pytest.mark.parametrize(
    ("asked", "creator", "refusal"),
    [
        ([], [Role.SUPER_ADMIN], ValidationFailed),
        ([Role.SUPER_ADMIN, Role.ALL_READER], [Role.SUPER_ADMIN], ValidationFailed),
        ([Role.SUPER_ADMIN], [Role.ALL_WRITER], PermissionDenied),
        ([Role.ALL_WRITER], [Role.ALL_READER], PermissionDenied),
        ([Role.EVENT_READER], [Role.EVENT_INGESTOR], PermissionDenied),
        ([Role.EVENT_READER], [], PermissionDenied),
    ],
)
def test_roles_that_cannot_be_given_are_refused(
    asked: list[Role], creator: list[Role], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        granted_roles(asked, creator)


@pytest.mark.parametrize(
    ("expires", "revoked", "live"),
    [(None, None, True), (1, None, True), (0, None, False), (-1, None, False), (None, 1, True),
     (None, 0, False), (None, -1, False), (1, -1, False), (-1, 1, False)],
)  # fmt: skip
def test_a_key_opens_something_until_it_ends(
    expires: int | None, revoked: int | None, live: bool
) -> None:
    key = replace(
        key_of("sk_1"),
        expires_at=None if expires is None else NOON + timedelta(seconds=expires),
        revoked_at=None if revoked is None else NOON + timedelta(seconds=revoked),
    )
    assert is_live(key, NOON) is live


def test_a_live_key_is_its_scope_and_roles_and_all_others_are_nobody_alike() -> None:
    keys, clock = MemoryKeys(), Clock()
    keys.add_key(key_of("live"))
    keys.add_key(replace(key_of("old"), expires_at=NOON))
    keys.add_key(replace(key_of("revoked"), revoked_at=NOON))
    authenticator = Authenticator(keys, clock)
    assert authenticator.authenticate("live") == Principal("secret_live", SCOPE, (Role.ALL_READER,))
    for key in ("old", "revoked", "unknown", "", "live ", "LIVE", digest_of("live"), "\ud800"):
        assert authenticator.authenticate(key) is None


def test_a_revoked_key_stops_within_five_seconds() -> None:
    keys, clock = CountingKeys(), Clock()
    keys.add_key(key_of("k"))
    authenticator = Authenticator(keys, clock)
    assert authenticator.authenticate("k") is not None
    keys.revoke_key(SCOPE, "secret_k", NOON)
    clock.moves(4.999)
    assert authenticator.authenticate("k") is not None
    assert keys.asked == 1
    clock.moves(0.001)
    assert authenticator.authenticate("k") is None


def test_a_key_revoked_in_this_process_stops_at_once_when_it_is_forgotten() -> None:
    keys, clock = CountingKeys(), Clock()
    keys.add_key(key_of("k"))
    authenticator = Authenticator(keys, clock)
    assert authenticator.authenticate("k") is not None
    keys.revoke_key(SCOPE, "secret_k", NOON)
    authenticator.forget()
    assert authenticator.authenticate("k") is None


def test_expiry_is_exact_although_the_store_is_not_asked_again() -> None:
    keys, clock = CountingKeys(), Clock()
    keys.add_key(replace(key_of("k"), expires_at=NOON + timedelta(seconds=1)))
    authenticator = Authenticator(keys, clock)
    assert authenticator.authenticate("k") is not None
    clock.moves(1)
    assert authenticator.authenticate("k") is None
    assert keys.asked == 1


def test_a_clock_that_goes_back_makes_nothing_last_longer() -> None:
    keys, clock = CountingKeys(), Clock()
    keys.add_key(key_of("k"))
    authenticator = Authenticator(keys, clock)
    assert authenticator.authenticate("k") is not None
    keys.revoke_key(SCOPE, "secret_k", NOON - timedelta(hours=2))
    clock.moves(-3600)
    assert authenticator.authenticate("k") is None


def test_a_key_that_is_unknown_is_looked_for_again_after_five_seconds() -> None:
    keys, clock = CountingKeys(), Clock()
    authenticator = Authenticator(keys, clock)
    assert authenticator.authenticate("k") is None
    keys.add_key(key_of("k"))
    assert authenticator.authenticate("k") is None
    assert keys.asked == 1
    clock.moves(5)
    assert authenticator.authenticate("k") is not None


def test_trying_many_keys_fills_no_memory_and_forgets_no_good_key() -> None:
    keys, clock = CountingKeys(), Clock()
    keys.add_key(key_of("k"))
    authenticator = Authenticator(keys, clock)
    assert authenticator.authenticate("k") is not None
    for number in range(STRANGERS_MAX * 2 + 10):
        assert authenticator.authenticate(f"guess {number}") is None
        assert len(authenticator._strangers) <= STRANGERS_MAX
    asked = keys.asked
    assert authenticator.authenticate("k") is not None
    assert keys.asked == asked


def test_a_store_that_is_away_is_said_and_lets_nobody_in() -> None:
    keys, clock = CountingKeys(), Clock()
    keys.add_key(key_of("k"))
    authenticator = Authenticator(keys, clock)
    assert authenticator.authenticate("k") is not None
    keys.away = True
    assert authenticator.authenticate("k") is not None
    clock.moves(5)
    with pytest.raises(StoreError):
        authenticator.authenticate("k")


def test_a_use_is_noted_at_most_once_a_minute() -> None:
    keys, clock = CountingKeys(), Clock()
    keys.add_key(key_of("a"))
    keys.add_key(key_of("b"))
    authenticator = Authenticator(keys, clock)
    for _ in range(121):
        authenticator.authenticate("a")
        clock.moves(1)
    authenticator.authenticate("b")
    assert keys.noted == [
        ("secret_a", NOON),
        ("secret_a", NOON + timedelta(seconds=60)),
        ("secret_a", NOON + timedelta(seconds=120)),
        ("secret_b", NOON + timedelta(seconds=121)),
    ]


def test_a_key_that_opens_nothing_is_not_used() -> None:
    keys, clock = CountingKeys(), Clock()
    keys.add_key(replace(key_of("k"), expires_at=NOON))
    assert Authenticator(keys, clock).authenticate("k") is None
    assert keys.noted == []


def test_a_use_that_cannot_be_noted_fails_no_request() -> None:
    class Unwritable(CountingKeys):
        def note_use(self, key_id: str, at: datetime) -> None:
            self.noted.append((key_id, at))
            raise StoreError("read only")

    keys, clock = Unwritable(), Clock()
    keys.add_key(key_of("k"))
    assert Authenticator(keys, clock).authenticate("k") is not None
    assert len(keys.noted) == 1


def test_what_no_request_waits_for_is_handed_over() -> None:
    keys, clock = CountingKeys(), Clock()
    tasks: list[Callable[[], None]] = []
    keys.add_key(key_of("k"))
    authenticator = Authenticator(keys, clock, background=tasks.append)
    assert authenticator.authenticate("k") is not None
    assert keys.noted == []
    for task in tasks:
        task()
    assert keys.noted == [("secret_k", NOON)]


def test_the_key_of_the_configuration_opens_everything_and_asks_no_store() -> None:
    keys, clock = CountingKeys(), Clock()
    keys.away = True
    authenticator = Authenticator(keys, clock, [configured_key("mine", SCOPE, NOON)])
    principal = authenticator.authenticate("mine")
    assert principal is not None
    assert principal.roles == (Role.SUPER_ADMIN,)
    assert principal.scope == SCOPE
    assert (keys.asked, keys.noted) == (0, [])


def test_the_key_of_the_configuration_is_listed_and_not_editable() -> None:
    configured = configured_key("sk_a-key-of-the-configuration", SCOPE, NOON)
    keys = WithConfigured(MemoryKeys(), [configured])
    keys.add_key(key_of("k"))
    assert [key.id for key in keys.keys(SCOPE)] == ["secret_configured", "secret_k"]
    assert keys.keys(Scope("tenant_default", "env_other")) == ()
    assert keys.keys(SCOPE)[0].display_id == "sk_a-***on"
    with pytest.raises(InvalidOperation):
        keys.revoke_key(SCOPE, "secret_configured", NOON)
    with pytest.raises(AlreadyExists):
        keys.add_key(replace(key_of("other"), digest=configured.digest))
    assert keys.revoke_key(SCOPE, "secret_k", NOON).revoked_at == NOON


def test_what_is_shown_of_a_key_gives_no_short_one_away() -> None:
    assert display_of("sk_" + "x" * 43) == "sk_xx***xx"
    for length in range(16):
        assert display_of("x" * length) == "***"
