"""All stores of the session service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from services.session.approval.store import ApprovalStore
from services.session.booking.store import BookingStore
from services.session.cancellation.store import CancellationStore
from services.session.erasure.store import ErasureStore
from services.session.follow_ups import FollowUps
from services.session.free_slots import FreeSlots
from services.session.guests.store import GuestStore
from services.session.mails.outbox import MailOutbox
from services.session.offers.store import OfferStore
from services.session.reschedule.store import RescheduleStore
from services.session.sessions.store import SessionStore
from services.session.waiting_list.store import WaitingListStore

if TYPE_CHECKING:
    from mesh.data.database import Database
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from solo60.session.v1.session_pb2_grpc import SessionServiceAsyncStub


@dataclass(frozen=True, slots=True)
class Stores:
    """Stores of one database, one per part of the service."""

    sessions: SessionStore
    bookings: BookingStore
    approvals: ApprovalStore
    cancellations: CancellationStore
    guests: GuestStore
    waiting_list: WaitingListStore
    offers: OfferStore
    reschedules: RescheduleStore
    erasures: ErasureStore

    @classmethod
    def on(cls, database: Database, payments: PaymentServiceAsyncStub, sessions: SessionServiceAsyncStub) -> Self:
        """Create the stores of a database. The stubs are the destinations of follow-up calls in the outbox."""
        mails = MailOutbox(sessions)
        free_slots = FreeSlots(mails, sessions)
        follow_ups = FollowUps(payments, mails, free_slots)
        cancellations, waiting_list = CancellationStore(database, follow_ups), WaitingListStore(database, free_slots)
        return cls(
            SessionStore(database),
            BookingStore(database, follow_ups),
            ApprovalStore(database, follow_ups),
            cancellations,
            GuestStore(database, mails),
            waiting_list,
            OfferStore(database, free_slots),
            RescheduleStore(database, follow_ups),
            ErasureStore(database, cancellations, waiting_list),
        )
