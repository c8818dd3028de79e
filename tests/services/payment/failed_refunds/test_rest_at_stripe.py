from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from contracts.errors import Unavailable
from solo60.payment.v1.payment_pb2 import PAYMENT_STATUS_REFUNDED
from tests.services.payment.requests import PENCE, charge, refund, refund_part
from tests.services.payment.stripe_mesh import by_stripe, mesh, refunded
from tests.support.stripe_proxy import Fault, StripeProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from solo60.payment.v1.payment_pb2 import ChargeSessionRequest
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from tests.support.http_messages import HttpMessage
    from tests.support.stripe_server import StripeServer


__all__ = ["mesh"]


class FailingRefunds(StripeProxy):
    """Proxy that sets `amount_refunded` of each charge to 0, as Stripe does when all refunds have failed."""

    rewritten = 0

    async def answer(self, request: HttpMessage) -> bytes | None:
        answer = await super().answer(request)
        if answer is None:
            return None
        # Padded, because a header states the length of the answer.
        answer, count = re.subn(rb'("amount_refunded": )([1-9]\d*)', lambda m: m[1] + b"0".ljust(len(m[2])), answer)
        self.rewritten += count
        return answer


@pytest.fixture
async def proxy(stripe_server: StripeServer) -> AsyncIterator[FailingRefunds]:
    """Run a proxy behind which refunds fail."""
    async with FailingRefunds(stripe_server.port) as proxy:
        yield proxy


@pytest.fixture
async def request_(payments: PaymentServiceAsyncStub) -> ChargeSessionRequest:
    """Charge a card of Stripe, and return the request."""
    request = charge(by_stripe())
    await payments.ChargeSession(request)
    return request


async def test_a_failed_part_is_not_in_the_rest(
    payments: PaymentServiceAsyncStub,
    request_: ChargeSessionRequest,
    stripe_server: StripeServer,
    proxy: FailingRefunds,
) -> None:
    """The refund of a session does not return a failed part again, because the member gets it in another way."""
    await payments.RefundSession(refund_part(request_, 250))

    answer = await payments.RefundSession(refund(request_))

    assert answer.payment.status == PAYMENT_STATUS_REFUNDED
    assert sorted(refunded(stripe_server)) == [250, PENCE - 250]
    assert proxy.rewritten


async def test_a_repeated_refund_does_not_repeat_a_failed_one(
    payments: PaymentServiceAsyncStub,
    request_: ChargeSessionRequest,
    stripe_server: StripeServer,
    proxy: FailingRefunds,
) -> None:
    """A refund whose answer was lost is recorded by a late repetition, even if it has failed meanwhile."""
    proxy.add_fault("POST /v1/refunds", "/refunds", Fault.LOSE_ANSWER)
    with suppress(Unavailable):
        await payments.RefundSession(refund(request_))

    answer = await payments.RefundSession(refund(request_))

    assert proxy.open_faults == 0
    assert answer.payment.status == PAYMENT_STATUS_REFUNDED
    assert refunded(stripe_server) == [PENCE]
    assert proxy.rewritten
