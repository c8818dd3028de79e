from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.errors import Internal, InvalidRequest, Unavailable
from interceptors.context import current_context, detached_work
from mesh.outbox import call_later, publish
from mesh.outbox.message import Status
from solo60.example.v1.echo_pb2 import EchoRequest
from solo60.example.v1.events_pb2 import Heard

if TYPE_CHECKING:
    from mesh.outbox.message import StoredMessage
    from tests.mesh.outbox.post import Post


async def only_message(post: Post) -> StoredMessage:
    """Return the one message of the outbox."""
    (message,) = await post.store.list(None, None, 2, before=None)
    return message


async def test_what_is_committed_is_delivered_and_what_is_rolled_back_is_not(post: Post) -> None:
    """A1, T-g1: no event without its transaction, and no transaction without its event."""

    async def fail_in_the_end() -> None:
        async with post.database.transaction() as connection:
            await publish(connection, Heard(text="never happened", place="here"))
            raise LookupError

    with pytest.raises(LookupError):
        await fail_in_the_end()
    await post.say("happened")

    async with post.relay().running():
        await post.until_nothing_pends()

    assert post.heard() == ["happened"]


async def test_a_message_goes_under_the_correlation_id_of_its_request(post: Post) -> None:
    """S4, T-j8: what is delivered later still belongs to the request that it was written for."""
    with detached_work("request-of-ada"):
        async with post.database.transaction() as connection:
            await call_later(connection, post.echo.stub().Echo, EchoRequest(text="later"))

    seen: list[str] = []

    async def note() -> None:
        context = current_context()
        assert context is not None
        seen.append(context.correlation_id)

    post.echo.servicer.hook = note  # type: ignore[method-assign]
    async with post.relay().running():
        await post.until_nothing_pends()

    assert seen == ["request-of-ada"]


async def test_events_of_one_aggregate_are_told_in_order(post: Post) -> None:
    """T-g3: also while one of them fails."""
    failures = iter([Unavailable(), Internal(), Unavailable()])

    async def fail_at_first() -> None:
        if (error := next(failures, None)) is not None:
            raise error

    post.echo.servicer.hook = fail_at_first  # type: ignore[method-assign]
    texts = [str(number) for number in range(50)]
    for text in texts:
        await post.say(text)

    async with post.relay().running():
        await post.until_nothing_pends()

    heard = [text for _, text, _ in post.echo.servicer.heard]
    assert heard == ["0"] * 4 + texts[1:] or post.heard() == texts


async def test_a_poison_message_holds_up_its_own_aggregate_alone(post: Post) -> None:
    """T-g3: and its own no longer than until it is given up."""

    async def choke() -> None:
        if post.echo.servicer.heard[-1][1] == "poison":
            raise InvalidRequest

    post.echo.servicer.hook = choke  # type: ignore[method-assign]
    await post.say("poison", "there")
    await post.say("after it", "there")
    await post.say("elsewhere")

    async with post.relay().running():
        await post.until_nothing_pends()

    assert post.heard() == ["elsewhere"]
    assert post.heard("there") == ["poison", "after it"]
    (dead,) = await post.store.list(Status.DEAD, None, 2, before=None)
    assert dead.last_error.startswith("INVALID_ARGUMENT INVALID_REQUEST")
    assert dead.message.attempts == 1
