from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from contracts.policy import ContractError
from interceptors.chained_channel import ChainedChannel
from interceptors.declared_calls import ClientDeclaredCalls
from mesh.outbox import call_later, cancel_later, publish
from solo60.example.v1.echo_pb2 import EchoRequest, KeepRequest, PromiseRequest
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from solo60.example.v1.events_pb2 import Heard

if TYPE_CHECKING:
    import asyncpg

    from tests.mesh.outbox.post import Post

TOMORROW = datetime.now(UTC) + timedelta(days=1)


async def test_publishing_costs_one_round_trip(post: Post) -> None:
    """Acceptance: a caller's transaction takes one statement more for an event, and one for a call."""
    statements: list[str] = []

    def note(record: asyncpg.connection.LoggedQuery) -> None:
        statements.append(record.query)

    async with post.database.transaction() as connection:
        await publish(connection, Heard(text="asyncpg asks once for the types", place="here"))
        connection.add_query_logger(note)
        await publish(connection, Heard(text="hi", place="here"))
        await call_later(connection, post.echo.stub().Echo, EchoRequest(text="hi"))
        connection.remove_query_logger(note)

    assert len(statements) == 2


async def test_what_is_taken_back_is_never_delivered(post: Post) -> None:
    """Part 1: cancelling by key removes what waits, in the canceller's transaction."""
    async with post.database.transaction() as connection:
        for key in ("reminder/1", "reminder/1", "reminder/2"):
            request = KeepRequest(text=key)
            await call_later(connection, post.echo.stub().Keep, request, at=TOMORROW, cancel_key=key)
    async with post.database.transaction() as connection:
        taken_back = await cancel_later(connection, "reminder/1")

    assert (taken_back, await post.count("pending")) == (2, 1)


async def test_taking_back_is_rolled_back_with_its_transaction(post: Post) -> None:
    """Part 1: whoever fails to change a subscription has not lost its reminder."""
    async with post.database.transaction() as connection:
        await call_later(connection, post.echo.stub().Keep, KeepRequest(text="hi"), at=TOMORROW, cancel_key="key")

    async def fail_in_the_end() -> None:
        async with post.database.transaction() as connection:
            assert await cancel_later(connection, "key") == 1
            raise LookupError

    with pytest.raises(LookupError):
        await fail_in_the_end()
    assert await post.count("pending") == 1


async def test_what_is_not_safe_to_repeat_is_refused(post: Post) -> None:
    """Part 1: an outbox repeats, so the destination's contract must allow it."""
    async with post.database.transaction() as connection:
        with pytest.raises(ContractError, match="EchoService/Promise is not safe to repeat"):
            await call_later(connection, post.echo.stub().Promise, PromiseRequest())


@pytest.mark.requirement("A3")
async def test_a_message_that_is_no_event_is_refused(post: Post) -> None:
    """What is published is declared to be an event."""
    async with post.database.transaction() as connection:
        with pytest.raises(ContractError, match=r"solo60\.example\.v1\.EchoRequest is not declared to be an event"):
            await publish(connection, EchoRequest(text="hi"))


async def test_a_stub_on_a_foreign_channel_is_refused(post: Post) -> None:
    """Only the mesh's channels know which method an attribute of a stub calls."""
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel, post.database.transaction() as connection:
        with pytest.raises(ContractError, match="must be a method of a stub"):
            await call_later(connection, EchoServiceStub(channel).Keep, KeepRequest(text="hi"))


async def test_a_call_that_is_not_declared_is_not_left_to_the_outbox(post: Post) -> None:
    """Where contracts are strict: the method being served names it in `calls_later`."""
    strict = EchoServiceStub(ChainedChannel(post.echo.bare_channel(), [ClientDeclaredCalls(refuse=True)]))

    async def leave() -> None:
        async with post.database.transaction() as connection:
            with pytest.raises(ContractError, match="Keep is not named in `calls_later` of Echo"):
                await call_later(connection, strict.Keep, KeepRequest(text="hi"))

    post.echo.servicer.hook = leave  # type: ignore[method-assign]  # what the hook is for
    await post.echo.stub().Echo(EchoRequest(text="hi"))
    async with post.database.transaction() as connection:
        assert await connection.fetchval("select count(*) from outbox") == 0
        # Work that no call waits for declares nothing.
        await call_later(connection, strict.Keep, KeepRequest(text="hi"))


async def test_a_time_and_an_order_exclude_each_other(post: Post) -> None:
    """What waits for next week must not hold up what is written tomorrow."""
    async with post.database.transaction() as connection:
        with pytest.raises(ValueError, match="cannot have both `at` and `aggregate_key`"):
            await call_later(
                connection, post.echo.stub().Keep, KeepRequest(text="hi"), at=TOMORROW, aggregate_key="session"
            )
