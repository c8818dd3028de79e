from __future__ import annotations

import asyncio
import time
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from argon2 import PasswordHasher

from contracts.errors import (
    CredentialsInvalid,
    EmailNotConfirmed,
    InvalidRequest,
    TooManyAttempts,
    Unavailable,
    UserNotActive,
)
from services.auth import constant_time
from services.auth.attempts.domain import ADDRESS_LIMIT, FORGET_AFTER, SOURCE_LIMIT
from services.auth.passwords import hasher
from solo60.auth.v1.auth_pb2 import LogInRequest, RequestPasswordResetRequest
from solo60.user.v1.user_pb2 import ROLE_ADMIN, ROLE_MEMBER, USER_STATE_SUSPENDED, CreateUserRequest
from tests.services.auth.auth_mesh import EMAIL, HOUR, NEW_PASSWORD, PASSWORD
from tests.support.eventually import eventually
from tests.support.violations import fields_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.services.auth.auth_mesh import AuthMesh

WRONG = "wrong password"
SLOT_S = 0.1


async def fail(mesh: AuthMesh, times: int = 1, **fields: str) -> None:
    """Log in with a wrong password."""
    for _ in range(times):
        with pytest.raises(CredentialsInvalid):
            await mesh.log_in(**{"password": WRONG, **fields})


@pytest.mark.requirement("J5")
async def test_a_log_in_returns_tokens_with_the_users_current_roles(mesh: AuthMesh) -> None:
    """The access token names user, roles and log-in, and expires in 10 minutes; the refresh token in 30 days."""
    user_id = await mesh.join()
    await mesh.change_user(user_id, roles=[ROLE_MEMBER, ROLE_ADMIN])
    now = mesh.clock.now()

    tokens = (await mesh.log_in()).tokens
    claims = await mesh.verify(tokens)

    assert (claims.user_id, list(claims.roles)) == (user_id, ["ADMIN", "MEMBER"])
    assert str(UUID(claims.log_in_id)) == claims.log_in_id
    assert claims.expire_time == tokens.access_expire_time
    seconds = timedelta(seconds=2)
    assert abs(tokens.access_expire_time.ToDatetime(UTC) - now - timedelta(minutes=10)) < seconds
    assert abs(tokens.refresh_expire_time.ToDatetime(UTC) - now - timedelta(days=30)) < seconds
    assert len(tokens.refresh_token) == 43


async def test_the_tokens_of_a_log_in_are_not_stored(mesh: AuthMesh) -> None:
    """Refresh tokens are stored only as hashes, and access tokens not at all."""
    await mesh.join()
    tokens = await mesh.refresh((await mesh.log_in()).tokens)

    tables = ("log_ins", "refresh_tokens", "idempotency_keys", "outbox")
    dump = "".join([str(await mesh.fetch(f"select t::text from {table} t")) for table in tables])  # noqa: S608 - names
    raw = (tokens.refresh_token, tokens.access_token, tokens.access_token.rpartition(".")[2])
    assert not [secret for secret in raw if secret in dump]


async def test_wrong_passwords_and_unknown_addresses_get_the_same_error(
    mesh: AuthMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown, unconfirmed, suspended and passwordless accounts get one error after one verification of a hash."""
    await mesh.join()
    await mesh.sign_up("unconfirmed@example.org")
    await mesh.change_user(await mesh.join("suspended@example.org"), state=USER_STATE_SUSPENDED)
    await mesh.users.CreateUser(CreateUserRequest(email="passwordless@example.org", display_name="Ada"))
    verified = count_verifications(monkeypatch)

    messages = set()
    names = (EMAIL, *(f"{name}@example.org" for name in ("unknown", "unconfirmed", "suspended", "passwordless")))
    for number, email in enumerate(names, start=1):
        with pytest.raises(CredentialsInvalid) as refusal:
            await mesh.log_in(email, WRONG)
        messages.add((refusal.value.message, str(refusal.value.metadata)))
        assert len(verified) == number

    assert len(messages) == 1
    assert len({parameters_of(each) for each in verified}) == 1


def count_verifications(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the hash of each verification."""
    verified: list[str] = []
    original = PasswordHasher.verify

    def verify(self: PasswordHasher, password_hash: Any, password: Any) -> Any:
        verified.append(str(password_hash))
        return original(self, password_hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    return verified


def parameters_of(password_hash: str) -> str:
    """Return the parameters of a hash."""
    return password_hash.split("$")[3]


async def test_time_reveals_no_account(mesh: AuthMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed LogIn, one during a pause, and RequestPasswordReset wait for the end of a slot of time."""
    monkeypatch.setattr(constant_time, "SLOT_S", SLOT_S)

    async def took_s(call: Awaitable[object]) -> float:
        started_s = time.monotonic()
        await call
        return time.monotonic() - started_s

    assert await took_s(fail(mesh)) >= SLOT_S
    await fail(mesh, ADDRESS_LIMIT.free - 1)
    assert await took_s(pause(mesh)) >= SLOT_S
    assert await took_s(mesh.auth.RequestPasswordReset(RequestPasswordResetRequest(email=EMAIL))) >= SLOT_S


async def pause(mesh: AuthMesh) -> None:
    """Log in during a pause."""
    with pytest.raises(TooManyAttempts):
        await mesh.log_in()


async def test_the_right_password_reveals_why_a_user_cannot_log_in(mesh: AuthMesh) -> None:
    """With the right password, LogIn fails with EMAIL_NOT_CONFIRMED or USER_NOT_ACTIVE."""
    user_id = (await mesh.sign_up()).user_id
    with pytest.raises(EmailNotConfirmed):
        await mesh.log_in()

    await mesh.change_user(user_id, state=USER_STATE_SUSPENDED, email_confirmed=True)
    with pytest.raises(UserNotActive):
        await mesh.log_in()

    assert await mesh.fetch("select from log_ins") == []


async def test_passwords_are_compared_exactly(mesh: AuthMesh) -> None:
    """A password in another case, with another blank, or cut off is wrong."""
    await mesh.join()

    for wrong in (PASSWORD.upper(), f"{PASSWORD} ", PASSWORD[:-1], PASSWORD[:8]):
        with pytest.raises(CredentialsInvalid):
            await mesh.log_in(password=wrong, source_ip="")


async def test_a_hash_with_old_parameters_is_replaced_at_the_next_log_in(mesh: AuthMesh) -> None:
    """LogIn hashes the password again if the stored hash has other parameters, also in parallel log-ins."""
    await mesh.join()
    weak = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
    await mesh.fetch("update passwords set password_hash = $1", weak)

    await asyncio.gather(*[mesh.log_in() for _ in range(3)])

    [(stored,)] = await mesh.fetch("select password_hash from passwords")
    assert parameters_of(stored) == f"m={hasher.MEMORY_KIB},t=2,p=1"
    assert (await mesh.log_in()).user_id


async def test_passwords_are_hashed_with_the_recommended_cost() -> None:
    """Hashes are Argon2id with 19 MiB and two passes, as OWASP recommends at least."""
    with hasher.open_hasher() as opened:
        assert (await opened.hash(PASSWORD)).startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_pauses_after_wrong_passwords_grow_up_to_a_limit(mesh: AuthMesh) -> None:
    """After five wrong passwords, each further one doubles the pause, and the error says when to retry."""
    await mesh.join()
    await fail(mesh, ADDRESS_LIMIT.free)

    pauses = []
    for _ in range(11):
        with pytest.raises(TooManyAttempts) as refusal:
            await mesh.log_in()
        assert refusal.value.retry_after_s is not None
        pauses.append(round(refusal.value.retry_after_s))
        mesh.clock.advance(timedelta(seconds=refusal.value.retry_after_s))
        await fail(mesh)

    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    mesh.clock.advance(ADDRESS_LIMIT.max_pause)
    assert (await mesh.log_in()).user_id
    await fail(mesh)  # the success has ended the pauses


async def test_unknown_addresses_are_paused_like_known_ones(mesh: AuthMesh) -> None:
    """An address without an account gets the same error after the same number of attempts, in any spelling."""
    await fail(mesh, ADDRESS_LIMIT.free - 1, email="nobody@example.org")
    await fail(mesh, email="Nobody@EXAMPLE.org")

    with pytest.raises(TooManyAttempts):
        await mesh.log_in("nobody@example.org", WRONG)


async def test_parallel_wrong_passwords_are_all_counted(mesh: AuthMesh) -> None:
    """Of ten wrong passwords at once, exactly five are verified."""
    await mesh.join()

    answers = await asyncio.gather(*[mesh.log_in(password=WRONG) for _ in range(10)], return_exceptions=True)

    assert sum(isinstance(answer, CredentialsInvalid) for answer in answers) == ADDRESS_LIMIT.free
    assert sum(isinstance(answer, TooManyAttempts) for answer in answers) == 10 - ADDRESS_LIMIT.free


async def test_attempts_during_a_pause_do_not_extend_it(mesh: AuthMesh) -> None:
    """Rejected attempts count neither for the address nor for the source."""
    await mesh.join()
    await fail(mesh, ADDRESS_LIMIT.free)
    for _ in range(10):
        with pytest.raises(TooManyAttempts):
            await mesh.log_in()

    mesh.clock.advance(timedelta(seconds=1))

    assert (await mesh.log_in()).user_id


async def test_wrong_passwords_from_elsewhere_do_not_lock_a_known_source_out(mesh: AuthMesh) -> None:
    """A source that has logged in before can do so during a pause of its address; a new source cannot."""
    user_id = await mesh.join()
    await mesh.log_in(source_ip="192.0.2.1")
    await fail(mesh, ADDRESS_LIMIT.free, source_ip="198.51.100.7")

    with pytest.raises(TooManyAttempts):
        await mesh.log_in(source_ip="203.0.113.9")
    assert (await mesh.log_in(source_ip="192.0.2.1")).user_id == user_id


async def test_a_source_is_paused_across_addresses(mesh: AuthMesh) -> None:
    """A source with too many wrong passwords for many addresses is paused; other sources are not."""
    await mesh.join()
    subject = "select subject from failed_attempts"
    await fail(mesh, email="nobody@example.org")
    known = set(await mesh.fetch(subject))
    await fail(mesh, email="nobody@example.org", source_ip="2001:db8::1")
    [(source,)] = set(await mesh.fetch(subject)) - known
    await mesh.fetch("update failed_attempts set failures = $2 where subject = $1", source, SOURCE_LIMIT.free)

    with pytest.raises(TooManyAttempts):
        await mesh.log_in(source_ip="2001:db8::2")  # the same network of one customer
    assert (await mesh.log_in(source_ip="2001:db8:0:1::1")).user_id


async def test_failures_are_forgotten_after_an_hour(mesh: AuthMesh) -> None:
    """After an hour without failures, five wrong passwords cause no pause again."""
    await fail(mesh, ADDRESS_LIMIT.free)

    mesh.clock.advance(FORGET_AFTER)

    await fail(mesh, ADDRESS_LIMIT.free)


async def test_a_reset_during_a_log_in_wins(mesh: AuthMesh) -> None:
    """A log-in whose password was changed after its verification fails."""
    await mesh.join()
    async with mesh.services.database("auth").transaction() as connection:
        await connection.execute("update passwords set change_time = change_time + interval '1 second'")
        log_in = asyncio.create_task(mesh.log_in())
        await eventually(lambda: is_waiting(mesh))

    with pytest.raises(CredentialsInvalid):
        await log_in


async def is_waiting(mesh: AuthMesh) -> bool:
    """Return whether a statement waits for a lock."""
    return bool(await mesh.fetch("select from pg_locks where not granted"))


async def test_a_log_in_without_the_user_service_is_unavailable_and_not_counted(mesh: AuthMesh) -> None:
    """LogIn fails with UNAVAILABLE while the user service is down, without counting a failure."""
    await mesh.join()
    await mesh.services.stop("user")

    for _ in range(2):
        with pytest.raises(Unavailable):
            await mesh.auth.LogIn(LogInRequest(email=EMAIL, password=PASSWORD), timeout=2)

    assert await mesh.fetch("select from failed_attempts") == []


async def test_old_data_of_log_ins_is_deleted(mesh: AuthMesh) -> None:
    """The upkeep deletes failures, sources, log-ins and tokens that have expired, and nothing else."""
    await mesh.join()
    await mesh.log_in()
    await fail(mesh, email="nobody@example.org")
    tables = ("failed_attempts", "known_sources", "log_ins", "refresh_tokens")

    async def counts() -> list[int]:
        return [(await mesh.fetch(f"select count(*) from {table}"))[0][0] for table in tables]  # noqa: S608 - names

    await mesh.tidy()
    assert await counts() == [2, 1, 1, 1]
    mesh.clock.advance(HOUR)
    await mesh.tidy()
    assert await counts() == [0, 1, 1, 1]
    mesh.clock.advance(timedelta(days=31))
    await mesh.tidy()
    assert await counts() == [0, 1, 0, 0]
    mesh.clock.advance(timedelta(days=60))
    await mesh.tidy()
    assert await counts() == [0, 0, 0, 0]


@pytest.mark.requirement("C3")
async def test_an_invalid_log_in_names_its_field(mesh: AuthMesh) -> None:
    """LogIn rejects an invalid request with violations that name only the bad field."""
    bad = [
        ("email", "ada"),
        ("email", f"ada@{'x' * 250}.org"),
        ("password", ""),
        ("password", "x" * 1025),
        ("source_ip", "localhost"),
    ]
    for field, value in bad:
        with pytest.raises(InvalidRequest) as refusal:
            await mesh.auth.LogIn(LogInRequest(**{"email": EMAIL, "password": NEW_PASSWORD, field: value}))
        assert set(fields_of(refusal.value)) == {field}, value
