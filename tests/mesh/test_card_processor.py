from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from contracts.errors import CardDeclined, Unavailable
from interceptors.context import detached_work
from mesh import card_processor
from mesh.card_processor import KEY_TROUBLE, RESERVED_S, RequestRejected, open_card_processor
from mesh.config import Settings
from tests.support.http_answers import HttpAnswers
from tests.support.ports import free_ports
from tests.support.stripe_server import API_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    import stripe

    from mesh.card_processor import CardProcessorClient
    from tests.support.stripe_server import StripeServer

INTENT: stripe.params.PaymentIntentCreateParams = {"amount": 500, "currency": "gbp", "payment_method": "pm_card_visa"}


@asynccontextmanager
async def opened(troubles: set[str], **settings: Any) -> AsyncIterator[CardProcessorClient]:
    """Open a client of a card processor on this machine."""
    loaded = Settings(_env_file=None, **settings)  # type: ignore[call-arg]  # pydantic-settings' own argument
    async with open_card_processor(loaded, troubles) as processor:
        yield processor


async def test_an_answer_arrives(stripe_server: StripeServer) -> None:
    """A request of the SDK reaches the card processor of STRIPE_API_URL, and its answer is returned."""
    async with opened(set(), **stripe_server.settings()) as processor:
        intent = await processor.ask(processor.v1.payment_intents.create_async(INTENT))

    assert (intent.status, intent.amount) == ("requires_confirmation", 500)


async def test_a_declined_card_is_a_declined_card(stripe_server: StripeServer) -> None:
    """A charge of a card that its bank declines raises CardDeclined."""
    declined: stripe.params.PaymentIntentCreateParams = {
        **INTENT,
        "payment_method": "pm_card_chargeCustomerFail",
        "confirm": True,
    }
    async with opened(set(), **stripe_server.settings()) as processor:
        with pytest.raises(CardDeclined):
            await processor.ask(processor.v1.payment_intents.create_async(declined))


async def test_an_invalid_request_is_rejected_with_its_status(stripe_server: StripeServer) -> None:
    """A request for an unknown object raises RequestRejected with the HTTP status 404."""
    async with opened(set(), **stripe_server.settings()) as processor:
        with pytest.raises(RequestRejected) as caught:
            await processor.ask(processor.v1.payment_intents.retrieve_async("pi_unknown"))

    assert caught.value.status == 404


async def test_a_rejected_key_is_a_trouble_until_it_is_accepted() -> None:
    """A wrong STRIPE_API_KEY is Unavailable, and one trouble without the key itself until an answer accepts the key."""
    troubles: set[str] = set()
    async with HttpAnswers() as server, opened(troubles, **server.stripe_settings("sk_test_hunter2")) as processor:
        server.status = 401
        with capture_logs() as logs:
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await processor.ask(processor.v1.payment_intents.retrieve_async("pi_1"))
        assert troubles == {KEY_TROUBLE}
        with detached_work(budget_s=RESERVED_S), pytest.raises(Unavailable):
            await processor.ask(processor.v1.payment_intents.retrieve_async("pi_1"))
        assert troubles == {KEY_TROUBLE}
        server.status = 200
        await processor.ask(processor.v1.payment_intents.retrieve_async("pi_1"))

    assert troubles == set()
    assert [line["event"] for line in logs if line["log_level"] == "error"] == [KEY_TROUBLE]
    assert "hunter2" not in repr(logs)


@pytest.mark.parametrize("status", [409, 429, 500, 503])
async def test_a_failing_card_processor_is_unavailable(status: int) -> None:
    """An overloaded or failing card processor raises Unavailable, and the SDK does not repeat the request."""
    async with HttpAnswers() as server, opened(set(), **server.stripe_settings()) as processor:
        server.status = status
        with pytest.raises(Unavailable):
            await processor.ask(processor.v1.payment_intents.create_async(INTENT))

        assert len(server.requests) == 1


async def test_a_card_processor_that_is_down_is_unavailable() -> None:
    """A card processor that accepts no connection raises Unavailable."""
    (port,) = free_ports(1)
    async with opened(set(), stripe_api_key=API_KEY, stripe_api_url=f"http://127.0.0.1:{port}") as processor:
        with pytest.raises(Unavailable):
            await processor.ask(processor.v1.payment_intents.create_async(INTENT))


async def test_a_slow_card_processor_is_unavailable_before_the_deadline_of_the_call() -> None:
    """A request to a silent card processor ends RESERVED_S before the deadline of the call that is being served."""
    async with HttpAnswers() as server, opened(set(), **server.stripe_settings()) as processor:
        server.answers = False
        with detached_work(budget_s=RESERVED_S + 0.3):
            start = time.monotonic()
            with pytest.raises(Unavailable):
                await processor.ask(processor.v1.payment_intents.create_async(INTENT))

    assert 0.2 < time.monotonic() - start < RESERVED_S + 0.3


async def test_a_silent_card_processor_is_unavailable_without_any_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request outside of a call ends after MAX_WAIT_S."""
    monkeypatch.setattr(card_processor, "MAX_WAIT_S", 0.2)
    async with HttpAnswers() as server, opened(set(), **server.stripe_settings()) as processor:
        server.answers = False
        with pytest.raises(Unavailable):
            await processor.ask(processor.v1.payment_intents.create_async(INTENT))


@pytest.mark.parametrize("through_proxy", [False, True])
async def test_the_proxy_of_the_environment_is_used_only_if_the_settings_say_so(
    monkeypatch: pytest.MonkeyPatch,
    through_proxy: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Requests go through `http_proxy` with CALLS_THROUGH_PROXY=true, and directly without."""
    async with HttpAnswers() as server, HttpAnswers() as proxy:
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        settings = {**server.stripe_settings(), "calls_through_proxy": through_proxy}
        async with opened(set(), **settings) as processor:
            await processor.ask(processor.v1.payment_intents.retrieve_async("pi_1"))

        assert (len(server.requests), len(proxy.requests)) == ((0, 1) if through_proxy else (1, 0))


async def test_requests_carry_our_idempotency_key_and_no_measurements() -> None:
    """A request carries the given idempotency key, and neither measurements nor an id of this machine."""
    async with HttpAnswers() as server, opened(set(), **server.stripe_settings()) as processor:
        for _ in range(2):
            await processor.ask(processor.v1.payment_intents.create_async(INTENT, {"idempotency_key": "our-key"}))

    for request in server.requests:
        assert request.headers["idempotency-key"] == "our-key"
        assert "x-stripe-client-telemetry" not in request.headers
        assert "telemetry_id" not in request.headers["x-stripe-client-user-agent"]


async def test_a_client_needs_a_key() -> None:
    """Opening a client without STRIPE_API_KEY raises ValueError."""
    with pytest.raises(ValueError, match="STRIPE_API_KEY is not set"):
        async with opened(set()):
            pass
