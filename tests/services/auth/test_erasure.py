"""Erasure of accounts and of failed log-ins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.errors import CredentialsInvalid
from solo60.auth.v1.auth_pb2 import (
    EraseAddressRequest,
    LogInRequest,
    OnUserErasedRequest,
    RequestPasswordResetRequest,
    SignUpRequest,
)
from solo60.user.v1.events_pb2 import UserErased
from tests.services.auth.auth_mesh import EMAIL, PASSWORD

if TYPE_CHECKING:
    from tests.services.auth.auth_mesh import AuthMesh

COUNTS = """
    select (select count(*) from passwords), (select count(*) from codes), (select count(*) from failed_attempts),
        (select count(*) from idempotency_keys where request_sha256 <> '')
"""


async def counts(mesh: AuthMesh) -> tuple[int, ...]:
    """Return the numbers of passwords, codes, failed attempts and requests with a hash."""
    [row] = await mesh.fetch(COUNTS)
    return tuple(row)


async def test_an_account_and_its_traces_are_erased(mesh: AuthMesh) -> None:
    """OnUserErased erases the account with the hash of its sign-up, and EraseAddress all that only has the address."""
    request = SignUpRequest(email=EMAIL, display_name="Ada", password=PASSWORD)
    user_id = (await mesh.auth.SignUp(request)).user_id
    await mesh.auth.RequestPasswordReset(RequestPasswordResetRequest(email=EMAIL.upper().replace("ORG", "org")))
    with pytest.raises(CredentialsInvalid):
        await mesh.auth.LogIn(LogInRequest(email=EMAIL, password="wrong"))  # noqa: S106 - of a test
    assert await counts(mesh) == (1, 2, 1, 2)

    await mesh.auth.EraseAddress(EraseAddressRequest(email="ADA@example.org"))
    assert await counts(mesh) == (1, 2, 0, 1)

    await mesh.auth.OnUserErased(OnUserErasedRequest(event=UserErased(user_id=user_id)))
    assert await counts(mesh) == (0, 0, 0, 0)
    with pytest.raises(CredentialsInvalid):
        await mesh.auth.LogIn(LogInRequest(email=EMAIL, password=PASSWORD))


async def test_traces_of_other_people_stay(mesh: AuthMesh) -> None:
    """EraseAddress leaves the failed log-ins and the requests of other addresses."""
    await mesh.auth.RequestPasswordReset(RequestPasswordResetRequest(email=EMAIL))
    with pytest.raises(CredentialsInvalid):
        await mesh.auth.LogIn(LogInRequest(email=EMAIL, password="wrong"))  # noqa: S106 - of a test
    before = await counts(mesh)

    await mesh.auth.EraseAddress(EraseAddressRequest(email="grace@example.org"))

    assert await counts(mesh) == before
