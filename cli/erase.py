"""`solo60 erase`: erase a person from all services."""

from __future__ import annotations

import asyncio
from datetime import UTC
from typing import Annotated

import typer

from cli.operator import operator_channels, operator_settings
from cli.terminal import err
from operations.texts import moment
from solo60.user.v1.user_pb2 import EraseUserRequest, EraseUserResponse
from solo60.user.v1.user_pb2_grpc import UserServiceStub


def erase(
    user_id: Annotated[str, typer.Argument(metavar="USER_ID", help="Id of the user.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Erase without asking.")] = False,
) -> None:
    """Cancel everything of a user, and erase the personal data from all services. This cannot be undone."""
    if not yes:
        typer.confirm(f"Erase user {user_id} from all services, for ever?", abort=True, err=True)
    erase_time = asyncio.run(_erase(user_id)).erase_time.ToDatetime(UTC)
    err.print(f"Erasure requested at {moment(erase_time)}. The services erase the data in the background.")


async def _erase(user_id: str) -> EraseUserResponse:
    async with operator_channels(operator_settings()) as channels:
        return await channels.stub(UserServiceStub).EraseUser(EraseUserRequest(user_id=user_id))
