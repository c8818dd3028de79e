"""`solo60 outbox`: list, count, retry, drop and replay outbox messages of the services."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
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
from contracts.errors import ServiceError
from mesh.config import load_settings
from mesh.outbox.message import DeliveryStatus
from operations.calls.requests import message_as_dict
from operations.outbox.backlog import OutboxState, state_as_json, states_of_all
from operations.outbox.history import history_of
from operations.outbox.messages import newest, newest_of_all, retry_dead_letters
from operations.texts import counted, error_text, moment
from solo60.mesh.v1 import outbox_pb2 as pb
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceAsyncStub

Answer = TypeVar("Answer")

ServiceName = Annotated[str, typer.Argument(metavar="SERVICE", help="Owner of the outbox, such as session.")]
MessageId = Annotated[str, typer.Argument(metavar="ID", help="Message id, from `solo60 outbox list`.")]

outbox = typer.Typer(help="Show, count, retry, drop and replay outbox messages.", no_args_is_help=True)


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
    lists = [(name, answer) for name, answer in answers.items() if not isinstance(answer, ServiceError)]
    found = [(name, each) for name, messages in lists for each in messages]
    _show(found, as_json=as_json, is_complete=len(lists) == len(answers))
    _report_failures(answers)


@outbox.command()
def summary(*, as_json: JsonFlag = False) -> None:
    """Show backlog, dead letters and next work of each outbox; exit with 0 only if all services answered."""
    answers = asyncio.run(_states_of_all())
    states = {name: answer for name, answer in answers.items() if isinstance(answer, OutboxState)}
    if as_json:
        print_json([state_as_json(name, state) for name, state in states.items()])
    elif states:
        print_table(_summary_table(states), folds=("dead letters",))
    _report_failures(answers)


@outbox.command()
def show(service: ServiceName, message_id: MessageId, *, as_json: JsonFlag = False) -> None:
    """Show one message with its request and its known history. Personal data is masked."""
    answer = _call_service(service, lambda stub: stub.GetMessage(pb.GetMessageRequest(message_id=message_id)))
    history = history_of(load_settings(), service, answer.message)
    facts = {**message_as_dict(answer.message), "payload": answer.payload_json}
    if as_json:
        entries = [{**asdict(each), "time": each.time.isoformat()} for each in history]
        print_facts({**facts, "history": entries}, as_json=True)
    else:
        lines = [f"\n  {moment(each.time)}  {each.event}  {each.detail}".rstrip() for each in history]
        print_facts({**facts, "history": "".join(lines)}, as_json=False)


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

    async def retry_one(stub: OutboxServiceAsyncStub) -> int:
        await stub.RetryMessage(pb.RetryMessageRequest(message_id=message_id or ""))
        return 1

    count = _call_service(service, retry_dead_letters if all_dead else retry_one)
    err.print(f"{counted(count, 'message')} of {service} due now.")


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


async def _states_of_all() -> dict[str, OutboxState | ServiceError]:
    async with operator_channels(operator_settings()) as channels:
        return await states_of_all(channels)


def _report_failures(answers: Mapping[str, object]) -> None:
    """Name the services that did not answer, and exit with 1 if there are any."""
    failures = {name: answer for name, answer in answers.items() if isinstance(answer, ServiceError)}
    for name, error in failures.items():
        err.print(f"{name} did not answer: {error_text(error)}", markup=False, style="red")
    if failures:
        print_advice(next(iter(failures.values())))
        raise typer.Exit(1)


def _summary_table(states: Mapping[str, OutboxState]) -> Table:
    table = Table(
        "service", "pending", "due", "oldest due", "dead letters", "due work", "next work", box=None, pad_edge=False
    )
    for name, state in states.items():
        age_s, next_time = state.oldest_due_age_s, state.next_due_time
        table.add_row(
            name,
            str(state.pending_count),
            str(state.due_count),
            "" if age_s is None else f"{age_s:.1f} s",
            str(state.dead_count),
            ", ".join(state.schedule.due_timers),
            "" if next_time is None else f"{moment(next_time)}: {state.next_work}",
        )
    return table


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
            moment((message.due_time if message.HasField("due_time") else message.settle_time).ToDatetime(UTC)),
            Text(message.last_error),
        )
    return table
