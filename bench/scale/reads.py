"""Measured calls that change nothing, in the same words for a database of any size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.scale.population import GYM, SESSION, USER, id_of
from solo60.communication.v1.communication_pb2 import ListFailedMessagesRequest
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.payment.v1.payment_pb2 import GetBalanceRequest, ListCreditEntriesRequest, ListSessionPaymentsRequest
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1.session_pb2 import (
    CheckConflictsRequest,
    GetSessionRequest,
    ListGymSessionsRequest,
    ListUserSessionsRequest,
    ListWaitingListRequest,
    SessionOrder,
    SessionStatus,
)
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from solo60.subscription.v1.subscription_pb2 import (
    GetUserSubscriptionRequest,
    ListHeldWebhooksRequest,
    ListPlansRequest,
)
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from solo60.user.v1.user_pb2 import GetUserByEmailRequest, GetUserRequest, Role, SearchUsersRequest, UserState
from solo60.user.v1.user_pb2_grpc import UserServiceStub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import TypeAlias

    from bench.scale.population import Population

    Stubs: TypeAlias = Callable[[Any], Any]
    Read: TypeAlias = Callable[[], Awaitable[object]]

PAGE = 20
# A later page is this many pages after the first, or the last page if there are fewer.
PAGES = 50
LARGEST_PAGE = 100
BUSY, REGULAR = id_of(USER, 1), id_of(USER, 2)
# The gym of the busy member, who has half of its sessions.
BUSY_GYM, OTHER_GYM = id_of(GYM, 1), id_of(GYM, 2)


@dataclass(frozen=True, slots=True)
class _Listing:
    """Method with pages and its request."""

    method: Callable[[Any], Awaitable[Any]]
    request: Any

    def first(self) -> Read:
        """Return a call for the first page."""
        return partial(self.method, self._page(PAGE, ""))

    async def later(self, page_size: int) -> Read:
        """Return a call for a page behind many pages of `page_size` results."""
        token = ""
        for _ in range(PAGES):
            answer = await self.method(self._page(page_size, token))
            if not answer.next_page_token:
                break
            token = answer.next_page_token
        return partial(self.method, self._page(PAGE, token))

    def _page(self, size: int, token: str) -> Any:  # noqa: ANN401 - a request of any method
        page = type(self.request)()
        page.CopyFrom(self.request)
        page.page_size, page.page_token = size, token
        return page


async def reads(stubs: Stubs, population: Population, address: str) -> Mapping[str, Read]:
    """Return the calls by name. `address` is the mail address of a member."""
    sessions, payments, users = stubs(SessionServiceStub), stubs(PaymentServiceStub), stubs(UserServiceStub)
    subscriptions = stubs(SubscriptionServiceStub)
    listings = {
        **{
            f"session.ListUserSessions, {name}": _Listing(sessions.ListUserSessions, request)
            for name, request in _session_lists(population).items()
        },
        "session.ListGymSessions": _Listing(
            sessions.ListGymSessions, ListGymSessionsRequest(gym_id=OTHER_GYM, period=population.month)
        ),
        "session.ListGymSessions, one status": _Listing(
            sessions.ListGymSessions,
            ListGymSessionsRequest(
                gym_id=OTHER_GYM, period=population.month, statuses=[SessionStatus.SESSION_STATUS_CANCELLED]
            ),
        ),
        "session.ListWaitingList": _Listing(sessions.ListWaitingList, ListWaitingListRequest(gym_id=OTHER_GYM)),
        "session.ListWaitingList, one month": _Listing(
            sessions.ListWaitingList, ListWaitingListRequest(gym_id=OTHER_GYM, period=population.month)
        ),
        **{f"user.SearchUsers, {name}": _Listing(users.SearchUsers, request) for name, request in _searches().items()},
        "payment.ListCreditEntries": _Listing(payments.ListCreditEntries, ListCreditEntriesRequest(user_id=REGULAR)),
        "payment.ListCreditEntries, busy member": _Listing(
            payments.ListCreditEntries, ListCreditEntriesRequest(user_id=BUSY)
        ),
        "communication.ListFailedMessages": _Listing(
            stubs(CommunicationServiceStub).ListFailedMessages, ListFailedMessagesRequest()
        ),
        "subscription.ListHeldWebhooks": _Listing(subscriptions.ListHeldWebhooks, ListHeldWebhooksRequest()),
        "subscription.ListPlans": _Listing(subscriptions.ListPlans, ListPlansRequest()),
    }
    later = {
        f"{name}, later page": await listings[name].later(_walk(population)) for name in sorted(_LATER & {*listings})
    }
    return {
        **{name: listing.first() for name, listing in listings.items()},
        **later,
        "session.GetSession": partial(
            sessions.GetSession, GetSessionRequest(session_id=id_of(SESSION, population.slots + 2))
        ),
        "session.CheckConflicts, a day": partial(
            sessions.CheckConflicts, CheckConflictsRequest(gym_id=OTHER_GYM, period=population.day)
        ),
        "session.CheckConflicts, a month": partial(
            sessions.CheckConflicts, CheckConflictsRequest(gym_id=OTHER_GYM, period=population.month)
        ),
        "user.GetUser": partial(users.GetUser, GetUserRequest(user_id=REGULAR)),
        "user.GetUserByEmail": partial(users.GetUserByEmail, GetUserByEmailRequest(email=address)),
        "payment.GetBalance": partial(payments.GetBalance, GetBalanceRequest(user_id=REGULAR)),
        "payment.ListSessionPayments": partial(
            payments.ListSessionPayments,
            ListSessionPaymentsRequest(session_id=id_of(SESSION, 3 * (population.slots // 3 + 1))),
        ),
        "subscription.GetUserSubscription": partial(
            subscriptions.GetUserSubscription, GetUserSubscriptionRequest(user_id=REGULAR)
        ),
    }


_LATER = {
    "session.ListUserSessions, busy member",
    "session.ListUserSessions, busy member, earliest first",
    "session.ListGymSessions",
    "session.ListWaitingList",
    "user.SearchUsers, everybody",
    "user.SearchUsers, inside a name",
    "payment.ListCreditEntries, busy member",
    "communication.ListFailedMessages",
}


def _walk(population: Population) -> int:
    """Return the page size with which later pages are reached: the larger the database, the deeper the page."""
    return min(LARGEST_PAGE, max(PAGE // 2, population.users // 1000))


def _session_lists(population: Population) -> dict[str, ListUserSessionsRequest]:
    month = population.month
    return {
        "busy member": ListUserSessionsRequest(user_id=BUSY),
        "busy member, earliest first": ListUserSessionsRequest(
            user_id=BUSY, order=SessionOrder.SESSION_ORDER_EARLIEST_FIRST
        ),
        "busy member, upcoming": ListUserSessionsRequest(user_id=BUSY, upcoming_only=True),
        "busy member, a rare status": ListUserSessionsRequest(
            user_id=BUSY, status=SessionStatus.SESSION_STATUS_REJECTED
        ),
        "busy member, one month": ListUserSessionsRequest(
            user_id=BUSY, starts_from=month.start_time, starts_before=month.end_time
        ),
        "busy member, another gym": ListUserSessionsRequest(user_id=BUSY, gym_id=OTHER_GYM),
        "all": ListUserSessionsRequest(user_id=REGULAR),
    }


def _searches() -> dict[str, SearchUsersRequest]:
    return {
        "everybody": SearchUsersRequest(),
        "beginning of a name": SearchUsersRequest(query="mar"),
        "one letter": SearchUsersRequest(query="m"),
        "inside a name": SearchUsersRequest(query="son"),
        "an address": SearchUsersRequest(query=".2@members"),
        "no match": SearchUsersRequest(query="zzzzqq"),
        "admins": SearchUsersRequest(role=Role.ROLE_ADMIN),
        "suspended": SearchUsersRequest(state=UserState.USER_STATE_SUSPENDED),
        "suspended, by name": SearchUsersRequest(state=UserState.USER_STATE_SUSPENDED, query="son"),
        "active members, by name": SearchUsersRequest(
            state=UserState.USER_STATE_ACTIVE, role=Role.ROLE_MEMBER, query="son"
        ),
    }
