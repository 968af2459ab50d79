"""What a key store promises: one suite for memory, SQLite and PostgreSQL."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from threading import Barrier

import pytest

from billing.access import Authenticator, digest_of
from billing.ports import KeyStore
from billing.stores.database import Database, migrate
from billing.stores.keys import SqlKeys
from billing.stores.memory_keys import MemoryKeys
from billing.stores.scopes import ensure_scope
from schemas.access import ApiKey, Role
from schemas.errors import AlreadyExists, NotFound
from schemas.scope import Scope

NOON = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
SCOPE = Scope("tenant_default", "env_development")
OTHER = Scope("tenant_default", "env_other")
POSTGRES = pytest.param("postgres", marks=pytest.mark.requires("postgres"))

# Each call is one more process, as far as the store can tell.
Opener = Callable[[], KeyStore]


@pytest.fixture(params=["memory", "sqlite", POSTGRES])
def opener(
    request: pytest.FixtureRequest,
    empty_database: Callable[[str], str],
    open_at: Callable[[str], Database],
) -> Opener:
    if request.param == "memory":
        keys = MemoryKeys()
        return lambda: keys
    url = empty_database(request.param)
    first = open_at(url)
    migrate(first)
    ensure_scope(first, OTHER, NOON)
    return lambda: SqlKeys(open_at(url))


def new(name: str, *, at: datetime = NOON, scope: Scope = SCOPE) -> ApiKey:
    return ApiKey(
        f"secret_{name}",
        digest_of(name),
        "sk_01***ef",
        name,
        scope,
        (Role.ALL_READER, Role.EVENT_INGESTOR),
        "test",
        at,
    )


def test_a_key_is_found_by_its_digest_as_it_was_made(opener: Opener) -> None:
    berlin = timezone(timedelta(hours=1))
    key = replace(
        new("a"),
        name="Größe 'x' \"y\" %s :z",
        created_at=NOON.astimezone(berlin),
        expires_at=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        revoked_at=datetime(1, 1, 2, tzinfo=UTC),
    )
    opener().add_key(key)
    found = opener().key_of(key.digest)
    assert found == key
    assert opener().key_of(digest_of("b")) is None
    assert opener().key_of("a") is None


def test_keys_are_listed_in_the_order_in_which_they_were_made(opener: Opener) -> None:
    keys = opener()
    keys.add_key(new("late", at=NOON + timedelta(microseconds=1)))
    keys.add_key(new("b"))
    keys.add_key(new("a"))
    keys.add_key(new("elsewhere", scope=OTHER))
    assert [key.name for key in opener().keys(SCOPE)] == ["a", "b", "late"]
    assert [key.name for key in opener().keys(OTHER)] == ["elsewhere"]
    assert opener().keys(Scope("tenant_other", "env_development")) == ()


def test_a_digest_and_an_id_are_taken_once(opener: Opener) -> None:
    keys = opener()
    keys.add_key(new("a"))
    for other in (
        new("a"),
        replace(new("b"), digest=digest_of("a")),
        replace(new("b"), id="secret_a"),
    ):
        with pytest.raises(AlreadyExists) as refused:
            opener().add_key(other)
        assert refused.value.reason == "unique"
    assert opener().keys(SCOPE) == (new("a"),)
    keys.add_key(new("b"))
    assert opener().key_of(digest_of("b")) == new("b")


def test_of_many_who_add_the_same_digest_one_does(opener: Opener) -> None:
    stores = [opener(), opener()]
    together = Barrier(8)

    def add(number: int) -> str:
        key = replace(new("a"), id=f"secret_{number}")
        together.wait(30)
        try:
            stores[number % 2].add_key(key)
        except AlreadyExists:
            return "refused"
        return key.id

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(add, range(8)))
    assert answers.count("refused") == 7
    found = opener().key_of(digest_of("a"))
    assert found is not None
    assert found.id in answers
    assert len(opener().keys(SCOPE)) == 1


def test_a_key_is_revoked_once_and_for_ever(opener: Opener) -> None:
    keys = opener()
    keys.add_key(new("a"))
    keys.add_key(new("b"))
    revoked = replace(new("a"), revoked_at=NOON + timedelta(hours=1))
    assert keys.revoke_key(SCOPE, "secret_a", NOON + timedelta(hours=1)) == revoked
    assert opener().revoke_key(SCOPE, "secret_a", NOON + timedelta(hours=2)) == revoked
    assert opener().key_of(digest_of("a")) == revoked
    assert opener().key_of(digest_of("b")) == new("b")


def test_a_key_of_another_scope_does_not_exist(opener: Opener) -> None:
    opener().add_key(new("a"))
    for scope, key_id in (
        (OTHER, "secret_a"),
        (Scope("tenant_other", "env_development"), "secret_a"),
        (SCOPE, "secret_b"),
        (SCOPE, digest_of("a")),
    ):
        with pytest.raises(NotFound):
            opener().revoke_key(scope, key_id, NOON)
    assert opener().key_of(digest_of("a")) == new("a")


def test_a_use_is_written_at_most_once_a_minute_by_all_processes_together(opener: Opener) -> None:
    one, other = opener(), opener()
    one.add_key(new("a"))
    written: set[datetime | None] = set()
    for second in range(0, 150, 10):
        store = (one, other)[second // 10 % 2]
        store.note_use("secret_a", NOON + timedelta(seconds=second))
        found = one.key_of(digest_of("a"))
        assert found is not None
        written.add(found.last_used_at)
    assert written == {NOON + timedelta(seconds=second) for second in (0, 60, 120)}
    one.note_use("secret_gone", NOON)
    assert one.keys(SCOPE) == (replace(new("a"), last_used_at=NOON + timedelta(seconds=120)),)


def test_a_key_revoked_by_another_process_stops_within_five_seconds(opener: Opener) -> None:
    at = [NOON]
    opener().add_key(new("a"))
    authenticator = Authenticator(opener(), lambda: at[0])
    assert authenticator.authenticate("a") is not None
    opener().revoke_key(SCOPE, "secret_a", NOON)
    at[0] += timedelta(seconds=5)
    assert authenticator.authenticate("a") is None


def test_many_threads_that_ask_agree(opener: Opener) -> None:
    opener().add_key(new("a"))
    authenticator = Authenticator(opener(), lambda: NOON)
    with ThreadPoolExecutor(8) as threads:
        answers = set(threads.map(authenticator.authenticate, ["a", "b"] * 40))
    assert {answer and answer.key_id for answer in answers} == {"secret_a", None}
