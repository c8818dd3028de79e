"""Share of the messages that the fast path accepts, so that the share cannot fall unnoticed."""

from __future__ import annotations

from contracts.example_messages import example_of
from contracts.plain.messages import PLAIN_CHECKS
from contracts.services import all_methods
from solo60.auth.v1.auth_pb2 import GetSigningKeysResponse, JsonWebKey
from solo60.session.v1.session_pb2 import BookSessionRequest

TYPES = {each for method in all_methods().values() for each in (method.request_type, method.response_type)}
# Their rules contain expressions of CEL that contracts.plain.expressions does not know.
WITH_EXPRESSIONS = {
    "solo60.communication.v1.UpdateNotificationPreferencesRequest",
    "solo60.gym.v1.UpdateGymRequest",
    "solo60.payment.v1.RefundSessionRequest",
    "solo60.session.v1.SendSessionMailRequest",
    "solo60.subscription.v1.ProcessWebhookRequest",
    "solo60.user.v1.UpdateUserRequest",
}
# Its generated example is invalid, because no generated key satisfies the rules.
WITHOUT_EXAMPLE = {"solo60.auth.v1.GetSigningKeysResponse"}


def test_the_examples_of_most_messages_are_plain() -> None:
    """The fast path accepts the example request and response of every method, except for a few listed types."""
    doubtful = {each.DESCRIPTOR.full_name for each in TYPES if not PLAIN_CHECKS[each](example_of(each))}

    assert doubtful == WITH_EXPRESSIONS | WITHOUT_EXAMPLE
    assert len(doubtful) < 0.05 * len(TYPES)


def test_signing_keys_are_plain() -> None:
    """The fast path accepts a list of signing keys."""
    key = JsonWebKey(kty="OKP", crv="Ed25519", alg="Ed25519", use="sig", kid="a" * 43, x="b" * 43)

    assert PLAIN_CHECKS[GetSigningKeysResponse](GetSigningKeysResponse(keys=[key]))


def test_a_booking_on_quarter_hours_is_plain() -> None:
    """The fast path accepts a booking on quarter hours of at most twelve hours, and no other."""
    booking: BookSessionRequest = example_of(BookSessionRequest)
    start_s = booking.period.start_time.seconds

    for seconds, nanos, expected in ((900, 0, True), (43_200, 0, True), (44_100, 0, False), (901, 0, False),
                                     (900, 1, False), (0, 0, False), (-900, 0, False)):  # fmt: skip
        booking.period.end_time.seconds, booking.period.end_time.nanos = start_s + seconds, nanos
        assert PLAIN_CHECKS[BookSessionRequest](booking) is expected
