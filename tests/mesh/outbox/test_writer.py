from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from contracts.policy import ContractError
from interceptors.chain.channel import ChainedChannel
from interceptors.declared_calls import ClientDeclaredCalls
from solo60.example.v1.echo_pb2 import EchoRequest, KeepRequest, PromiseRequest
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from solo60.example.v1.events_pb2 import Heard

if TYPE_CHECKING:
    import asyncpg

    from tests.mesh.outbox.outbox_fixture import OutboxFixture

TOMORROW = datetime.now(UTC) + timedelta(days=1)


async def test_publishing_adds_one_statement(outbox: OutboxFixture) -> None:
    """Publishing an event or deferring a call adds one statement to the transaction."""
    statements: list[str] = []

    def note(record: asyncpg.connection.LoggedQuery) -> None:
        statements.append(record.query)

    async with outbox.transaction() as tx:
        await tx.publish(Heard(text="asyncpg asks once for the types", place="here"))
        tx.connection.add_query_logger(note)
        await tx.publish(Heard(text="hi", place="here"))
        await tx.call_later(outbox.echo.stub().Echo, EchoRequest(text="hi"))
        tx.connection.remove_query_logger(note)

    assert len(statements) == 2


async def test_cancelling_by_key_removes_waiting_messages(outbox: OutboxFixture) -> None:
    """Cancelling by key removes all waiting messages with that key and no others."""
    async with outbox.transaction() as tx:
        for key in ("reminder/1", "reminder/1", "reminder/2"):
            request = KeepRequest(text=key)
            await tx.call_later(outbox.echo.stub().Keep, request, at=TOMORROW, cancel_key=key)
    async with outbox.transaction() as tx:
        taken_back = await tx.cancel_later("reminder/1")

    assert (taken_back, await outbox.count("pending")) == (2, 1)


async def test_a_cancellation_is_rolled_back_with_its_transaction(outbox: OutboxFixture) -> None:
    """A cancellation by key is undone if its transaction is rolled back."""
    async with outbox.transaction() as tx:
        await tx.call_later(outbox.echo.stub().Keep, KeepRequest(text="hi"), at=TOMORROW, cancel_key="key")

    async def fail_in_the_end() -> None:
        async with outbox.transaction() as tx:
            assert await tx.cancel_later("key") == 1
            raise LookupError

    with pytest.raises(LookupError):
        await fail_in_the_end()
    assert await outbox.count("pending") == 1


async def test_a_call_that_is_not_safe_to_repeat_is_rejected(outbox: OutboxFixture) -> None:
    """Deferring a call that is not safe to repeat raises ContractError, because an outbox may repeat it."""
    async with outbox.transaction() as tx:
        with pytest.raises(ContractError, match="EchoService/Promise is not safe to repeat"):
            await tx.call_later(outbox.echo.stub().Promise, PromiseRequest())


@pytest.mark.requirement("A3")
async def test_a_message_that_is_not_an_event_is_rejected(outbox: OutboxFixture) -> None:
    """Publishing a message that is not declared to be an event raises ContractError."""
    async with outbox.transaction() as tx:
        with pytest.raises(ContractError, match=r"solo60\.example\.v1\.EchoRequest is not declared to be an event"):
            await tx.publish(EchoRequest(text="hi"))


async def test_a_stub_on_a_foreign_channel_is_rejected(outbox: OutboxFixture) -> None:
    """Deferring a call on a foreign channel raises ContractError.

    Only the mesh's channels know the method of a stub attribute.
    """
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel, outbox.transaction() as tx:
        with pytest.raises(ContractError, match="must be a method of a stub"):
            await tx.call_later(EchoServiceStub(channel).Keep, KeepRequest(text="hi"))


async def test_an_undeclared_call_is_rejected(outbox: OutboxFixture) -> None:
    """With strict contracts, a method may only defer the calls that its contract names in `calls_later`."""
    strict = EchoServiceStub(ChainedChannel(outbox.echo.bare_channel(), [ClientDeclaredCalls(reject=True)]))

    async def defer_undeclared_call() -> None:
        async with outbox.transaction() as tx:
            with pytest.raises(ContractError, match="Keep is not listed in `calls_later` of Echo"):
                await tx.call_later(strict.Keep, KeepRequest(text="hi"))

    outbox.echo.servicer.hook = defer_undeclared_call
    await outbox.echo.stub().Echo(EchoRequest(text="hi"))
    async with outbox.transaction() as tx:
        assert await tx.connection.fetchval("select count(*) from outbox") == 0
        # Work outside of a call needs no declaration.
        await tx.call_later(strict.Keep, KeepRequest(text="hi"))


async def test_a_delivery_time_and_an_order_exclude_each_other(outbox: OutboxFixture) -> None:
    """A deferred call cannot have both a delivery time and an order, because it would block the calls after it."""
    async with outbox.transaction() as tx:
        with pytest.raises(ValueError, match="cannot have both `at` and `aggregate_key`"):
            await tx.call_later(outbox.echo.stub().Keep, KeepRequest(text="hi"), at=TOMORROW, aggregate_key="session")
