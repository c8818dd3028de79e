from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from contracts.errors import InvalidRequest, ScopeMissing
from solo60.payment.v1.payment_pb2 import (
    CreditEntry,
    CreditEntryKind,
    ExpireCreditsRequest,
    GetBalanceRequest,
    GetBalanceResponse,
    GrantCreditsRequest,
    ListCreditEntriesRequest,
)
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from tests.services.payment.ledger_queries import company_account_sum
from tests.services.payment.requests import BY_CARD, BY_CREDITS, CREDITS, charge, credit_back, grant, refund, some_id
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from tests.support.serving import MeshForTests

DAY = timedelta(days=1)
NOT_ISSUED, TWO_LINES = "?", "a\n"


class Credits:
    """Credits of a new user, at a payment service with a movable clock."""

    def __init__(self, mesh: MeshForTests) -> None:
        self.mesh = mesh
        self.payments: PaymentServiceAsyncStub = mesh.stub(PaymentServiceStub)
        self.user_id, self.subscription_id = some_id(), some_id()

    async def grant(self, credits_granted: int, lifetime: timedelta) -> datetime:
        """Grant credits of a subscription that expire after `lifetime`, and return their expiry."""
        expire_time = self.mesh.clock.now() + lifetime
        request = GrantCreditsRequest(
            user_id=self.user_id, credits=credits_granted, reason="June", subscription_id=self.subscription_id
        )
        request.expire_time.FromDatetime(expire_time)
        await self.payments.GrantCredits(request)
        return expire_time

    async def balance(self) -> GetBalanceResponse:
        """Return the balance."""
        return await self.payments.GetBalance(GetBalanceRequest(user_id=self.user_id))

    async def entries(self) -> list[CreditEntry]:
        """Return the newest changes of the balance."""
        return list((await self.payments.ListCreditEntries(ListCreditEntriesRequest(user_id=self.user_id))).entries)

    async def short_entries(self) -> list[tuple[str, int, int]]:
        """Return kind, credits and balance of the newest changes."""
        return [(short(entry.kind), entry.credits, entry.balance_after) for entry in await self.entries()]


def short(kind: CreditEntryKind.ValueType) -> str:
    """Return the name of a kind without its prefix."""
    return CreditEntryKind.Name(kind).removeprefix("CREDIT_ENTRY_KIND_")


@pytest.fixture
def credits_(mesh: MeshForTests) -> Credits:
    """Return the credits of a new user."""
    return Credits(mesh)


@pytest.mark.requirement("J4")
async def test_credits_expire_by_the_clock(credits_: Credits, mesh: MeshForTests) -> None:
    """At their expiry, credits leave the balance, and the service books the expiry by itself."""
    first = await credits_.grant(5, 31 * DAY)
    second = await credits_.grant(3, 62 * DAY)
    await grant(credits_.payments, credits_.user_id, 2)
    balance = await credits_.balance()
    assert (balance.credits, balance.next_expire_credits) == (10, 5)
    assert balance.next_expire_time.ToDatetime(UTC) == first

    mesh.clock.advance(31 * DAY)
    balance = await credits_.balance()
    assert (balance.credits, balance.next_expire_credits) == (5, 3)
    assert balance.next_expire_time.ToDatetime(UTC) == second
    await eventually(lambda: has_entries(credits_, 4))

    mesh.clock.advance(400 * DAY)
    assert await credits_.balance() == GetBalanceResponse(credits=2)
    await eventually(lambda: has_entries(credits_, 5))
    newest = (await credits_.entries())[0]
    assert (short(newest.kind), newest.credits, newest.balance_after) == ("EXPIRY", -3, 2)
    assert newest.create_time.ToDatetime(UTC) == second
    assert await company_account_sum(mesh.database("payment"), "issued", "CREDIT") == -2


async def has_entries(credits_: Credits, number: int) -> bool:
    """Return whether the user has `number` changes."""
    return len(await credits_.entries()) == number


async def test_the_entries_show_each_change(credits_: Credits) -> None:
    """Each change is listed, newest first, with balance, session or subscription, reason and expiry."""
    expire_time = await credits_.grant(5, DAY)
    booking = charge(BY_CREDITS, user_id=credits_.user_id)
    await credits_.payments.ChargeSession(booking)
    await credits_.payments.RefundSession(refund(booking))
    by_card = charge(BY_CARD, user_id=credits_.user_id)
    await credits_.payments.ChargeSession(by_card)
    await credits_.payments.CreditBackSession(credit_back(by_card))

    card_back, back, spend, issue = await credits_.entries()

    assert await credits_.short_entries() == [
        ("GIVE_BACK", CREDITS, 5 + CREDITS),
        ("GIVE_BACK", CREDITS, 5),
        ("SPEND", -CREDITS, 5 - CREDITS),
        ("ISSUE", 5, 5),
    ]
    assert [entry.session_id for entry in (card_back, back, spend, issue)] == [
        by_card.session_id,
        booking.session_id,
        booking.session_id,
        "",
    ]
    assert [entry.reason for entry in (card_back, back, spend, issue)] == [
        "gym closed",
        "session cancelled",
        "",
        "June",
    ]
    assert [entry.subscription_id for entry in (back, spend, issue)] == ["", "", credits_.subscription_id]
    assert [entry.HasField("expire_time") for entry in (card_back, spend)] == [False, False]
    assert issue.expire_time.ToDatetime(UTC) == back.expire_time.ToDatetime(UTC) == expire_time


async def test_a_give_back_after_the_expiry_shows_its_new_expiry(credits_: Credits, mesh: MeshForTests) -> None:
    """The entry of a refund after the expiry shows that the credits live for 30 days from then."""
    await credits_.grant(CREDITS, DAY)
    booking = charge(BY_CREDITS, user_id=credits_.user_id)
    await credits_.payments.ChargeSession(booking)

    mesh.clock.advance(2 * DAY)
    await credits_.payments.RefundSession(refund(booking))

    entry = (await credits_.entries())[0]
    assert entry.expire_time.ToDatetime(UTC) == entry.create_time.ToDatetime(UTC) + 30 * DAY
    mesh.clock.advance(30 * DAY)
    assert await credits_.balance() == GetBalanceResponse()


async def test_a_late_grant_lives_for_thirty_days(credits_: Credits, mesh: MeshForTests) -> None:
    """A grant that is processed after its expiry, for example after a month of downtime, is not lost."""
    await credits_.grant(CREDITS, -DAY)

    (issue,) = await credits_.entries()
    assert (await credits_.balance()).credits == CREDITS
    assert issue.expire_time.ToDatetime(UTC) == issue.create_time.ToDatetime(UTC) + 30 * DAY
    mesh.clock.advance(30 * DAY)
    assert (await credits_.balance()).credits == 0


async def test_entries_are_listed_in_pages(credits_: Credits) -> None:
    """Pages of any size together list each change once, with the same balances; new changes do not shift them."""
    for number in range(1, 8):
        await grant(credits_.payments, credits_.user_id, number)
    await grant(credits_.payments, some_id(), 99)
    expected = await credits_.entries()

    listed: list[CreditEntry] = []
    request = ListCreditEntriesRequest(user_id=credits_.user_id, page_size=3)
    while True:
        page = await credits_.payments.ListCreditEntries(request)
        listed += page.entries
        if not page.next_page_token:
            break
        assert len(page.entries) == 3
        request.page_token = page.next_page_token
        await grant(credits_.payments, credits_.user_id, 1)

    assert listed == expected
    assert [entry.balance_after for entry in listed] == [28, 21, 15, 10, 6, 3, 1]


async def test_a_page_token_belongs_to_one_user(credits_: Credits) -> None:
    """A page token of one user's list is rejected for another user."""
    for _ in range(2):
        await grant(credits_.payments, credits_.user_id, 1)
    first = await credits_.payments.ListCreditEntries(ListCreditEntriesRequest(user_id=credits_.user_id, page_size=1))

    other = ListCreditEntriesRequest(user_id=some_id(), page_size=1, page_token=first.next_page_token)
    with pytest.raises(InvalidRequest) as rejected:
        await credits_.payments.ListCreditEntries(other)
    assert [violation.field for violation in rejected.value.violations] == ["page_token"]


async def test_an_unknown_user_has_no_entries(credits_: Credits) -> None:
    """ListCreditEntries returns an empty list for an unknown user."""
    assert await credits_.entries() == []


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (ListCreditEntriesRequest(user_id="me"), "user_id"),
        (ListCreditEntriesRequest(user_id=some_id(), page_size=-1), "page_size"),
        (ListCreditEntriesRequest(user_id=some_id(), page_token=NOT_ISSUED), "page_token"),
        (ListCreditEntriesRequest(user_id=some_id(), page_token=TWO_LINES), "page_token"),
        (ListCreditEntriesRequest(user_id=some_id(), page_token="a" * 513), "page_token"),
    ],
)
async def test_an_invalid_list_names_its_field(
    payments: PaymentServiceAsyncStub, request_: ListCreditEntriesRequest, field: str
) -> None:
    """An invalid request for entries is rejected with a violation that names the bad field."""
    with pytest.raises(InvalidRequest) as rejected:
        await payments.ListCreditEntries(request_)
    assert [violation.field for violation in rejected.value.violations] == [field]


@pytest.mark.requirement("C3")
async def test_an_invalid_expiry_names_its_field(payments: PaymentServiceAsyncStub) -> None:
    """ExpireCredits rejects an invalid user id, and GrantCredits an invalid subscription id or a malformed time."""
    with pytest.raises(InvalidRequest) as rejected:
        await payments.ExpireCredits(ExpireCreditsRequest(user_id="me"))
    assert [violation.field for violation in rejected.value.violations] == ["user_id"]

    request = GrantCreditsRequest(user_id=some_id(), credits=1, reason="June", subscription_id="june")
    with pytest.raises(InvalidRequest) as rejected:
        await payments.GrantCredits(request)
    assert [violation.field for violation in rejected.value.violations] == ["subscription_id"]

    request = GrantCreditsRequest(user_id=some_id(), credits=1, reason="June")
    request.expire_time.seconds = 2**40
    with pytest.raises(InvalidRequest) as rejected:
        await payments.GrantCredits(request)
    assert [violation.field for violation in rejected.value.violations] == ["expire_time"]


@pytest.mark.requirement("S1")
async def test_callers_without_the_scope_are_rejected(mesh: MeshForTests) -> None:
    """Only payment itself and the operator may book expiries, and only callers that read payments may list entries."""
    own = mesh.stub(PaymentServiceStub, caller="payment")
    await own.ExpireCredits(ExpireCreditsRequest(user_id=some_id()))

    subscription = mesh.stub(PaymentServiceStub, caller="subscription")
    with pytest.raises(ScopeMissing):
        await subscription.ExpireCredits(ExpireCreditsRequest(user_id=some_id()))
    with pytest.raises(ScopeMissing):
        await subscription.ListCreditEntries(ListCreditEntriesRequest(user_id=some_id()))
