"""Story of an account: sign-up, confirmation, log-in, a new password, and a stolen token."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from cli.demos.evidence import spans_of, traced
from cli.demos.passage import wait
from cli.demos.stage import person_of
from cli.demos.waiting import refusal
from cli.demos.wording import facts_of_error
from contracts.errors import CredentialsInvalid, EmailNotConfirmed, TokenInvalid
from solo60.auth.v1.auth_pb2 import (
    ConfirmEmailRequest,
    ConfirmPasswordResetRequest,
    LogInRequest,
    LogOutEverywhereRequest,
    RefreshTokensRequest,
    RequestPasswordResetRequest,
    SignUpRequest,
    Tokens,
    VerifyTokenRequest,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cli.demos.stage import Stage
    from cli.demos.story import Person, Step

PASSWORD = "correct horse battery staple"  # noqa: S105 - of a demo
NEW_PASSWORD = "nine purple ducks at dawn"  # noqa: S105 - of a demo
# Longer than the 10 s in which two tabs of a browser may use the same token.
LATER = timedelta(seconds=11)


@dataclass(frozen=True, slots=True)
class Account:
    """Account of the story: its owner, and the calls that a person can make about it."""

    stage: Stage
    owner: Person

    async def log_in(self, password: str) -> Tokens:
        """Log in; return the tokens."""
        request = LogInRequest(email=self.owner.email, password=password, source_ip="192.0.2.1")
        return (await self.stage.auth.LogIn(request)).tokens

    async def refresh(self, tokens: Tokens) -> Tokens:
        """Use a refresh token; return the next tokens."""
        request = RefreshTokensRequest(refresh_token=tokens.refresh_token)
        return (await self.stage.auth.RefreshTokens(request)).tokens

    async def is_logged_in(self, tokens: Tokens) -> bool:
        """Return whether an access token is valid."""
        with suppress(TokenInvalid):
            await self.stage.auth.VerifyToken(VerifyTokenRequest(access_token=tokens.access_token))
            return True
        return False


async def sign_up(stage: Stage) -> AsyncIterator[Step]:
    """Tell the story of one account."""
    stage.inbox.require_readable()
    owner = person_of("Grace Demo")
    sign_up_request = SignUpRequest(email=owner.email, password=PASSWORD, display_name=owner.name)
    with traced("sign-up") as trace_id:
        signed_up = await stage.auth.SignUp(sign_up_request)
    account = Account(stage, replace(owner, user_id=signed_up.user_id))
    (mail,) = await stage.inbox.wait_for(owner)
    yield stage.step(
        "signed up",
        "Grace signs up, and gets a code to confirm the address.",
        {"user_id": signed_up.user_id},
        mails=[mail],
        spans=await spans_of(stage.settings, trace_id, ["auth", "user", "communication"]),
    )

    unconfirmed = await refusal(account.log_in(PASSWORD), EmailNotConfirmed)
    yield stage.step(
        "not confirmed", "Grace cannot log in before the address is confirmed.", facts_of_error(unconfirmed)
    )

    await stage.auth.ConfirmEmail(ConfirmEmailRequest(code=mail.code))
    first = await account.log_in(PASSWORD)
    claims = (await stage.auth.VerifyToken(VerifyTokenRequest(access_token=first.access_token))).claims
    yield stage.step(
        "logged in",
        "Grace enters the code and logs in. The access token is valid for ten minutes.",
        {
            "user_id": claims.user_id,
            "expire_time": claims.expire_time.ToDatetime(UTC),
            "log_in_id": claims.log_in_id,
        },
    )
    async for step in _password_reset(account, await account.refresh(first)):
        yield step
    async for step in _stolen_token(account):
        yield step


async def _password_reset(account: Account, tokens: Tokens) -> AsyncIterator[Step]:
    stage, owner = account.stage, account.owner
    yield stage.step(
        "refreshed",
        "Before the access token ends, the refresh token is changed for the next pair.",
        {"logged_in": await account.is_logged_in(tokens)},
    )
    await stage.auth.RequestPasswordReset(RequestPasswordResetRequest(email=owner.email))
    (mail,) = await stage.inbox.wait_for(owner)
    yield stage.step("reset requested", "Grace has forgotten the password, and gets a code.", {}, mails=[mail])

    await stage.auth.ConfirmPasswordReset(ConfirmPasswordResetRequest(code=mail.code, new_password=NEW_PASSWORD))
    old = await refusal(account.log_in(PASSWORD), CredentialsInvalid)
    yield stage.step(
        "password changed",
        "Grace sets a new password with the code. That ends all log-ins, and the old password no longer works.",
        {"old_password": old.reason_name(), "old_log_in_is_valid": await account.is_logged_in(tokens)},
        mails=await stage.inbox.wait_for(owner),
    )


async def _stolen_token(account: Account) -> AsyncIterator[Step]:
    stage, owner = account.stage, account.owner
    phone, laptop = await account.log_in(NEW_PASSWORD), await account.log_in(NEW_PASSWORD)
    of_owner = await account.refresh(laptop)
    yield stage.step(
        "stolen",
        "Grace logs in on a phone and on a laptop. A thief copies the laptop's token; the laptop uses it first.",
        {"phone": await account.is_logged_in(phone), "laptop": await account.is_logged_in(of_owner)},
    )

    await wait(stage, LATER)
    caught = await refusal(account.refresh(laptop), TokenInvalid)
    ended = await refusal(account.refresh(of_owner), TokenInvalid)
    yield stage.step(
        "caught",
        f"{LATER.total_seconds():.0f} seconds later the thief uses the copy. That ends the log-in of thief and laptop.",
        {
            "thief": caught.reason_name(),
            "laptop": ended.reason_name(),
            "phone": await account.is_logged_in(phone),
        },
        mails=await stage.inbox.wait_for(owner),
    )

    await stage.auth.LogOutEverywhere(LogOutEverywhereRequest(user_id=owner.user_id))
    yield stage.step(
        "logged out everywhere",
        "Grace logs out everywhere, to be safe.",
        {"phone": await account.is_logged_in(phone)},
    )
