"""RPC handlers of the session service, composed of the handlers of its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.session.approval.servicer import ApprovalServicer
from services.session.availability.servicer import AvailabilityServicer
from services.session.booking.servicer import BookingServicer
from services.session.cancellation.servicer import CancellationServicer
from services.session.erasure.servicer import ErasureServicer
from services.session.guests.servicer import GuestServicer
from services.session.mails.servicer import MailServicer
from services.session.offers.servicer import OfferServicer
from services.session.reschedule.servicer import RescheduleServicer
from services.session.sessions.servicer import ReadServicer
from services.session.waiting_list.servicer import WaitingListServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from services.session.availability.watchers import Watchers
    from services.session.booking.workflow import BookingWorkflow
    from services.session.directory import Directory
    from services.session.mails.mailer import Mailer
    from services.session.sessions.relations import Relations
    from services.session.stores import Stores


class SessionServicer(
    ReadServicer,
    AvailabilityServicer,
    BookingServicer,
    ApprovalServicer,
    CancellationServicer,
    RescheduleServicer,
    GuestServicer,
    WaitingListServicer,
    OfferServicer,
    MailServicer,
    ErasureServicer,
):
    """All RPC handlers. `now` returns the current time in UTC."""

    def __init__(
        self,
        stores: Stores,
        booking: BookingWorkflow,
        directory: Directory,
        mailer: Mailer,
        relations: Relations,
        watchers: Watchers,
        now: Callable[[], datetime],
    ) -> None:
        self._stores = stores
        self._booking = booking
        self._directory = directory
        self._mailer = mailer
        self._relations = relations
        self._watchers = watchers
        self._now = now
