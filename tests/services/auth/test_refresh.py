from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

import pytest

from contracts.errors import InvalidRequest, TokenInvalid, Unavailable, UserNotActive
from services.auth.log_ins.domain import IDLE_LIFETIME, MAX_LIFETIME, REUSE_WINDOW
from solo60.auth.v1.auth_pb2 import LogOutEverywhereRequest, LogOutRequest, RefreshTokensRequest, Tokens
from solo60.user.v1.user_pb2 import ROLE_OWNER, USER_STATE_ACTIVE, USER_STATE_DELETED, USER_STATE_SUSPENDED
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from tests.services.auth.auth_mesh import AuthMesh

MICROSECOND = timedelta(microseconds=1)
REUSED = "You were logged out for your safety"


async def log_out(mesh: AuthMesh, refresh_token: str) -> None:
    """Log out with a refresh token."""
    await mesh.auth.LogOut(LogOutRequest(refresh_token=refresh_token))


async def reject(mesh: AuthMesh, tokens: Tokens) -> None:
    """Check that neither the refresh token nor the access token is valid."""
    with pytest.raises(TokenInvalid):
        await mesh.refresh(tokens)
    with pytest.raises(TokenInvalid):
        await mesh.verify(tokens)


async def test_a_refresh_token_has_one_spelling(mesh: AuthMesh) -> None:
    """A refresh token with padding, or with characters that are not base64url, is invalid and uses nothing up."""
    tokens = await mesh.first_log_in()
    text = tokens.refresh_token

    for spelling in (f"{text}=", f"{text[:9]}!{text[9:]}", f" {text}"):
        with pytest.raises(TokenInvalid):
            await mesh.refresh(Tokens(refresh_token=spelling))

    assert (await mesh.refresh(tokens)).refresh_token != text


@pytest.mark.requirement("J5")
async def test_a_refresh_returns_new_tokens_with_the_current_roles(mesh: AuthMesh) -> None:
    """RefreshTokens continues the log-in with new tokens, the user's current roles and a later expiry."""
    user_id = await mesh.join()
    first = (await mesh.log_in()).tokens
    await mesh.change_user(user_id, roles=[ROLE_OWNER])
    mesh.clock.advance(timedelta(minutes=9))

    second = await mesh.refresh(first)

    assert (await mesh.verify(second)).log_in_id == (await mesh.verify(first)).log_in_id
    assert list((await mesh.verify(second)).roles) == ["OWNER"]
    assert second.refresh_token != first.refresh_token
    expire_time = second.refresh_expire_time.ToDatetime(UTC)
    assert expire_time == mesh.clock.now() + IDLE_LIFETIME


async def test_twenty_parallel_refreshes_get_the_same_successor(mesh: AuthMesh) -> None:
    """Twenty calls with one token at once get one successor, and so does a call ten seconds later."""
    first = await mesh.first_log_in()

    answers = await asyncio.gather(*[mesh.refresh(first) for _ in range(20)])
    mesh.clock.advance(REUSE_WINDOW)
    late = await mesh.refresh(first)

    assert len({each.refresh_token for each in (*answers, late)}) == 1
    assert {each.refresh_expire_time.ToDatetime(UTC) for each in answers} == {late.refresh_expire_time.ToDatetime(UTC)}
    assert await mesh.fetch("select from refresh_tokens") == [(), ()]
    await mesh.refresh(late)


async def test_a_late_second_use_revokes_the_log_in_and_notifies_the_user(mesh: AuthMesh) -> None:
    """A token that is used again after ten seconds revokes all tokens of its log-in, and one mail is sent."""
    first = await mesh.first_log_in()
    other = (await mesh.log_in()).tokens
    second = await mesh.refresh(first)
    mesh.clock.advance(REUSE_WINDOW + MICROSECOND)

    await reject_refresh(mesh, first)

    await reject(mesh, second)
    await reject_refresh(mesh, first)
    assert [mail.recipient for mail in await mesh.mails(REUSED)] == ["Ada@example.org"]
    assert (await mesh.verify(other)).user_id  # other log-ins stay valid
    await mesh.refresh(other)


async def reject_refresh(mesh: AuthMesh, tokens: Tokens) -> None:
    """Check that a refresh token is invalid."""
    with pytest.raises(TokenInvalid):
        await mesh.refresh(tokens)


async def test_a_used_token_cannot_be_repeated_without_its_salt(mesh: AuthMesh) -> None:
    """The upkeep deletes the salts of old tokens, and a token without its salt counts as stolen."""
    first = await mesh.first_log_in()
    await mesh.refresh(first)
    await mesh.tidy()
    assert await mesh.fetch("select from refresh_tokens where salt is not null") == [()]
    mesh.clock.advance(REUSE_WINDOW + MICROSECOND)

    await mesh.tidy()

    assert await mesh.fetch("select from refresh_tokens where salt is not null") == []


async def test_a_refresh_token_expires_without_use(mesh: AuthMesh) -> None:
    """A refresh token is valid until the last microsecond of its 30 days, and expiry does not count as theft."""
    first, second = await mesh.first_log_in(), (await mesh.log_in()).tokens
    mesh.clock.advance(IDLE_LIFETIME - MICROSECOND)
    await mesh.refresh(first)
    mesh.clock.advance(MICROSECOND)

    await reject_refresh(mesh, second)

    assert await mesh.mails(REUSED) == []


async def test_a_log_in_ends_after_a_year(mesh: AuthMesh) -> None:
    """A log-in that is always refreshed ends a year after it began."""
    start = mesh.clock.now()
    tokens = await mesh.first_log_in()
    for _ in range(17):
        mesh.clock.advance(timedelta(days=21))
        tokens = await mesh.refresh(tokens)

    assert tokens.refresh_expire_time.ToDatetime(UTC) == start + MAX_LIFETIME
    mesh.clock.advance(timedelta(days=8))
    await reject_refresh(mesh, tokens)


async def test_an_inactive_user_cannot_refresh(mesh: AuthMesh) -> None:
    """RefreshTokens of a suspended user fails with USER_NOT_ACTIVE and does not use up the token."""
    user_id = await mesh.join()
    tokens = (await mesh.log_in()).tokens
    await mesh.change_user(user_id, state=USER_STATE_SUSPENDED)
    with pytest.raises(UserNotActive):
        await mesh.refresh(tokens)
    mesh.clock.advance(timedelta(minutes=1))

    await mesh.change_user(user_id, state=USER_STATE_ACTIVE)

    assert (await mesh.refresh(tokens)).refresh_token


async def test_a_refresh_without_the_user_service_does_not_use_up_the_token(mesh: AuthMesh) -> None:
    """RefreshTokens fails with UNAVAILABLE while the user service is down, and succeeds long after."""
    tokens = await mesh.first_log_in()
    await mesh.services.stop("user")
    with pytest.raises(Unavailable):
        await mesh.auth.RefreshTokens(RefreshTokensRequest(refresh_token=tokens.refresh_token), timeout=3)
    mesh.clock.advance(timedelta(hours=1))

    await mesh.restart("user")

    await eventually(lambda: can_refresh(mesh, tokens))


async def can_refresh(mesh: AuthMesh, tokens: Tokens) -> bool:
    """Return whether the auth service reaches the user service again, and accepts the token."""
    try:
        await mesh.refresh(tokens)
    except Unavailable:
        return False
    return True


async def test_an_unknown_token_is_invalid(mesh: AuthMesh) -> None:
    """Unknown and malformed refresh tokens fail with TOKEN_INVALID; a log-out with them succeeds."""
    for token in ("x", "A" * 43, "not base64url!", "A" * 44, "ü" * 43, urlsafe_b64encode(b"x" * 31).decode()):
        await reject_refresh(mesh, Tokens(refresh_token=token))
        await log_out(mesh, token)


async def test_a_log_out_ends_one_log_in(mesh: AuthMesh) -> None:
    """LogOut with any refresh token of a log-in revokes all of its tokens at once, and may be repeated."""
    first = await mesh.first_log_in()
    other = (await mesh.log_in()).tokens
    second = await mesh.refresh(first)

    for _ in range(2):
        await log_out(mesh, first.refresh_token)

    await reject(mesh, second)
    assert (await mesh.verify(other)).user_id


async def test_a_log_out_everywhere_ends_all_log_ins_of_one_user(mesh: AuthMesh) -> None:
    """LogOutEverywhere revokes the tokens of each log-in of the user, and of no other user."""
    user_id = await mesh.join()
    tokens = [(await mesh.log_in()).tokens for _ in range(3)]
    await mesh.join("grace@example.org")
    other = (await mesh.log_in("grace@example.org")).tokens

    await mesh.auth.LogOutEverywhere(LogOutEverywhereRequest(user_id=user_id))

    for each in tokens:
        await reject(mesh, each)
    assert (await mesh.verify(other)).user_id


async def test_a_departed_user_is_logged_out_and_forgotten(mesh: AuthMesh) -> None:
    """When a user leaves, all log-ins end, and password, codes and known sources are deleted."""
    user_id = await mesh.join()
    tokens = (await mesh.log_in()).tokens
    await mesh.mails("")

    await mesh.change_user(user_id, state=USER_STATE_DELETED)

    async def is_forgotten() -> bool:
        return await mesh.fetch("select from passwords") == []

    await eventually(is_forgotten)
    await reject(mesh, tokens)
    for table in ("codes", "code_hashes", "known_sources"):
        assert await mesh.fetch(f"select from {table}") == []


@pytest.mark.requirement("C3")
async def test_an_invalid_request_is_rejected(mesh: AuthMesh) -> None:
    """RefreshTokens and LogOut reject an empty or too long token, and one with a line break."""
    for token in ("", "x" * 513, "a\nb"):
        with pytest.raises(InvalidRequest):
            await mesh.refresh(Tokens(refresh_token=token))
        with pytest.raises(InvalidRequest):
            await log_out(mesh, token)
    with pytest.raises(InvalidRequest):
        await mesh.auth.LogOutEverywhere(LogOutEverywhereRequest(user_id="1"))
