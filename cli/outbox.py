"""`solo60 outbox`: list, retry, drop and replay outbox messages of the services."""

from __future__ import annotations

import asyncio
from datetime import UTC
from functools import partial
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from cli.advice import print_advice
from cli.operator import operator_channels, operator_settings
from cli.service_names import require_service
from cli.terminal import CommandError, JsonFlag, err, out, print_facts, print_json, print_table
from contracts.errors import OutboxMessageNotFound, OutboxMessageSettled, ServiceError
from mesh.outbox.message import DeliveryStatus
from operations.calls import message_as_dict
from operations.outbox import all_messages, newest, newest_of_all
from solo60.mesh.v1 import outbox_pb2 as pb
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.timestamp_pb2 import Timestamp

    from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceAsyncStub

Answer = TypeVar("Answer")

ServiceName = Annotated[str, typer.Argument(metavar="SERVICE", help="Owner of the outbox, such as session.")]
MessageId = Annotated[str, typer.Argument(metavar="ID", help="Message id, from `solo60 outbox list`.")]

outbox = typer.Typer(help="Show, retry, drop and replay outbox messages.", no_args_is_help=True)


@outbox.command(name="list")
def list_messages(
    service: Annotated[str | None, typer.Argument(metavar="SERVICE", help="Service. Default: all.")] = None,
    status: Annotated[DeliveryStatus | None, typer.Option(help="Only messages in this status.")] = None,
    destination: Annotated[str, typer.Option(help='Only messages to this method, "package.Service/Method".')] = "",
    number: Annotated[int, typer.Option("-n", min=1, help="Maximum number per outbox, newest first.")] = 20,
    *,
    dead: Annotated[bool, typer.Option("--dead", help="Only dead letters, same as --status dead.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List messages, newest first. Without SERVICE, list all outboxes; exit with 0 only if all services answered."""
    wanted = pb.ListMessagesRequest(destination=destination)
    if dead or status:
        name = DeliveryStatus.DEAD if dead else status or ""
        wanted.status = pb.OutboxStatus.Value(f"OUTBOX_STATUS_{name.upper()}")
    if service is not None:
        _show(
            [(service, each) for each in _call_service(service, partial(newest, wanted=wanted, number=number))],
            as_json=as_json,
        )
        return
    answers = asyncio.run(_newest_of_all(wanted, number))
    failures = {name: answer for name, answer in answers.items() if isinstance(answer, ServiceError)}
    lists = ((name, answer) for name, answer in answers.items() if not isinstance(answer, ServiceError))
    _show([(name, each) for name, messages in lists for each in messages], as_json=as_json, is_complete=not failures)
    for name, error in failures.items():
        err.print(f"{name} did not answer: {error.code.name}: {error.message}", markup=False, style="red")
    if failures:
        print_advice(next(iter(failures.values())))
        raise typer.Exit(1)


@outbox.command()
def show(service: ServiceName, message_id: MessageId, *, as_json: JsonFlag = False) -> None:
    """Show one message with its request. Personal data is masked."""
    answer = _call_service(service, lambda stub: stub.GetMessage(pb.GetMessageRequest(message_id=message_id)))
    facts = {**message_as_dict(answer.message), "payload": answer.payload_json}
    print_facts(facts, as_json=as_json)


@outbox.command()
def retry(
    service: ServiceName,
    message_id: Annotated[str | None, typer.Argument(metavar="ID", help="Message id.")] = None,
    *,
    all_dead: Annotated[bool, typer.Option("--all", help="All dead letters of this outbox.")] = False,
) -> None:
    """Deliver a dead letter again now. The receiver does not repeat work that it has already done."""
    if (message_id is None) is not all_dead:
        raise CommandError("Give either a message ID or --all.")

    async def retry_them(stub: OutboxServiceAsyncStub) -> int:
        wanted = pb.ListMessagesRequest(status=pb.OUTBOX_STATUS_DEAD)
        ids = [message_id] if message_id else [each.message_id async for each in all_messages(stub, wanted)]
        count = 0
        for each in ids:
            try:
                await stub.RetryMessage(pb.RetryMessageRequest(message_id=each))
            except (OutboxMessageNotFound, OutboxMessageSettled):
                if message_id:
                    raise
                continue  # delivered or dropped since it was listed
            count += 1
        return count

    count = _call_service(service, retry_them)
    err.print(f"{count} message{'' if count == 1 else 's'} of {service} due now.")


@outbox.command()
def drop(service: ServiceName, message_id: MessageId) -> None:
    """Delete an undelivered message permanently."""
    _call_service(service, lambda stub: stub.DropMessage(pb.DropMessageRequest(message_id=message_id)))
    err.print(f"{message_id} is deleted and will not be delivered.", markup=False)


@outbox.command()
def replay(service: ServiceName, message_id: MessageId) -> None:
    """Deliver a delivered message again as a new message, and print its id. The receiver acts on it again."""
    answer = _call_service(service, lambda stub: stub.ReplayMessage(pb.ReplayMessageRequest(message_id=message_id)))
    out.print(answer.message.message_id, markup=False)


def _call_service(service: str, request: Callable[[OutboxServiceAsyncStub], Awaitable[Answer]]) -> Answer:
    """Run `request` against the outbox of one service."""

    async def ask() -> Answer:
        async with operator_channels(operator_settings()) as channels:
            return await request(channels.stub(OutboxServiceStub, at=require_service(service)))

    return asyncio.run(ask())


def _show(found: list[tuple[str, pb.OutboxMessage]], *, as_json: bool, is_complete: bool = True) -> None:
    if as_json:
        print_json([{"service": name, **message_as_dict(message)} for name, message in found])
    elif found:
        print_table(_table(found), folds=("last error",))
    elif is_complete:
        err.print("There are no messages.")


async def _newest_of_all(
    wanted: pb.ListMessagesRequest, number: int
) -> dict[str, list[pb.OutboxMessage] | ServiceError]:
    async with operator_channels(operator_settings()) as channels:
        return await newest_of_all(channels, wanted, number)


def _table(found: list[tuple[str, pb.OutboxMessage]]) -> Table:
    table = Table(
        "service", "id", "to", "status", "failed attempts", "due or settled", "last error", box=None, pad_edge=False
    )
    for name, message in found:
        table.add_row(
            name,
            message.message_id,
            message.destination.rpartition(".")[2],
            pb.OutboxStatus.Name(message.status).removeprefix("OUTBOX_STATUS_"),
            str(message.attempts),
            _moment(message.due_time if message.HasField("due_time") else message.settle_time),
            Text(message.last_error),
        )
    return table


def _moment(time: Timestamp) -> str:
    return f"{time.ToDatetime(UTC):%Y-%m-%d %H:%M:%S} UTC"
