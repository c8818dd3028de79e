"""`solo60 messages`: list failed mail, show a message, and retry failed messages."""

from __future__ import annotations

import asyncio
from datetime import UTC
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from cli.operator import operator_channels, operator_settings
from cli.terminal import CommandError, JsonFlag, err, print_facts, print_json, print_table
from operations.calls.requests import message_as_dict
from operations.mail.messages import retry_failed
from operations.texts import counted, moment
from solo60.communication.v1 import communication_pb2 as pb
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub

Answer = TypeVar("Answer")

MessageId = Annotated[str, typer.Argument(metavar="ID", help="Message id, from `solo60 messages list`.")]

messages = typer.Typer(help="List failed mail, show a message, or send it again.", no_args_is_help=True)


@messages.command(name="list")
def list_messages(
    number: Annotated[int, typer.Option("-n", min=1, max=100, help="Maximum number, newest first.")] = 50,
    page_token: Annotated[str, typer.Option("--page", help="Page token that the previous list printed.")] = "",
    *,
    as_json: JsonFlag = False,
) -> None:
    """List messages with a failed last attempt, including given up and expired messages."""
    request = pb.ListFailedMessagesRequest(page_size=number, page_token=page_token)
    page = _call_service(lambda stub: stub.ListFailedMessages(request))
    if as_json:
        print_json({"messages": list(map(message_as_dict, page.messages)), "next_page_token": page.next_page_token})
        return
    if page.messages:
        print_table(_table(page.messages), folds=("last error",))
    else:
        err.print("No message has failed.")
    if page.next_page_token:
        err.print(f"Next page: solo60 messages list -n {number} --page {page.next_page_token}", markup=False)


@messages.command()
def show(message_id: MessageId, *, as_json: JsonFlag = False) -> None:
    """Show the status of a message, without its recipient and text."""
    facts = message_as_dict(
        _call_service(lambda stub: stub.GetMessage(pb.GetMessageRequest(message_id=message_id))).message
    )
    print_facts(facts, as_json=as_json)


@messages.command()
def retry(
    message_id: Annotated[str | None, typer.Argument(metavar="ID", help="Message id.")] = None,
    *,
    all_failed: Annotated[bool, typer.Option("--all", help="All failed messages that cannot have been sent.")] = False,
) -> None:
    """Send a failed message now, with as many attempts as a new message.

    A message that may have been sent is retried only by its ID, because it could arrive twice.
    """
    if (message_id is None) is not all_failed:
        raise CommandError("Give either a message ID or --all.")
    if message_id is not None:
        _call_service(lambda stub: stub.RetryMessage(pb.RetryMessageRequest(message_id=message_id)))
        count = 1
    else:
        count, skipped = _call_service(retry_failed)
        if skipped:
            err.print(f"Messages skipped because they may have been sent: {skipped}.")
    err.print(f"{counted(count, 'message')} queued.")


def _call_service(request: Callable[[CommunicationServiceAsyncStub], Awaitable[Answer]]) -> Answer:
    """Run `request` against the communication service, with the operator's key."""

    async def ask() -> Answer:
        async with operator_channels(operator_settings()) as channels:
            return await request(channels.stub(CommunicationServiceStub))

    return asyncio.run(ask())


def _table(found: Iterable[pb.Message]) -> Table:
    table = Table("id", "status", "template", "attempts", "stored", "last error", box=None, pad_edge=False)
    for message in found:
        table.add_row(
            message.message_id,
            pb.MessageStatus.Name(message.status).removeprefix("MESSAGE_STATUS_"),
            message.template_key,
            str(message.attempts),
            moment(message.create_time.ToDatetime(UTC)),
            Text(message.last_error),
        )
    return table
