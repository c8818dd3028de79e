from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.errors import Internal
from solo60.common.v1.money_pb2 import Money
from tests.services.payment.ledger_queries import company_account_sum, violations
from tests.services.payment.requests import BY_CARD, balance, charge, credit_back, grant, refund, some_id

if TYPE_CHECKING:
    from solo60.payment.v1.payment_pb2 import ChargeSessionRequest
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from tests.support.serving import MeshForTests

LARGEST = 2**63 - 1


def priced(currency: str, minor_units: int) -> ChargeSessionRequest:
    """Return a request to charge this price to a card."""
    request = charge(BY_CARD)
    request.price.CopyFrom(Money(currency_code=currency, minor_units=minor_units))
    return request


@pytest.mark.parametrize("currency", ["JPY", "GBP", "KWD"], ids=["no decimals", "two decimals", "three decimals"])
@pytest.mark.parametrize("minor_units", [1, 1234567, LARGEST])
async def test_amounts_are_whole_minor_units_of_any_currency(
    payments: PaymentServiceAsyncStub, mesh: MeshForTests, currency: str, minor_units: int
) -> None:
    """Charged and refunded amounts equal the request's number exactly, for any number of decimals of the currency."""
    database = mesh.database("payment")
    requests = [priced(currency, minor_units) for _ in range(2)]

    charged = [(await payments.ChargeSession(request)).payment.money for request in requests]
    earned = await company_account_sum(database, "income", currency)
    given_back = (await payments.RefundSession(refund(requests[0]))).payment

    assert charged == [request.price for request in requests]
    # Two of the largest amounts exceed an int64, so the company's sums are computed and not stored in a column.
    assert earned == 2 * minor_units
    assert given_back.money == requests[0].price
    assert await company_account_sum(database, "cards", currency) == -minor_units
    assert await violations(database) == set()


async def test_credits_beyond_int64_are_rejected(payments: PaymentServiceAsyncStub, mesh: MeshForTests) -> None:
    """A grant or credit-back that would overflow an int64 balance fails with INTERNAL and changes no balance."""
    first, second = (charge(BY_CARD, user_id=some_id()) for _ in range(2))
    second.user_id = first.user_id
    for request in (first, second):
        request.credits = LARGEST
        await payments.ChargeSession(request)
    await payments.CreditBackSession(credit_back(first))

    with pytest.raises(Internal):
        await payments.CreditBackSession(credit_back(second))
    with pytest.raises(Internal):
        await grant(payments, first.user_id, 1)

    assert await balance(payments, first.user_id) == LARGEST
    assert await violations(mesh.database("payment")) == set()
