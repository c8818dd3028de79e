from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from solo60.user.v1.user_pb2 import USER_STATE_DELETED, EraseUserRequest, GetUserRequest, User
from tests.services.erasure.database_dump import Hit, find_texts
from tests.services.erasure.person import (
    CANCEL_REASON,
    CREDIT_REASON,
    EARLIER_NAME,
    EMAIL,
    GRANT_REASON,
    GUEST_EMAIL,
    GUEST_NAME,
    NAME,
    REFUND_REASON,
    REJECT_REASON,
    SERVICES,
    WEBHOOK_NAME,
    Life,
    Person,
    dead_letter,
)
from tests.services.session.booking_mesh import BookingMesh
from tests.services.subscription.subscription_mesh import SubscriptionMesh
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.serving import MeshForTests

HOST_EMAIL, HOST_NAME = "bob@hosts.example", "Bob Hostmann"
DUE = "select destination from outbox where status = 'pending' and deliver_time <= now()"
DEAD = "select destination, last_error from outbox where status = 'dead' and correlation_id <> 'by-hand'"
ADD_DEAD_LETTER = """
    insert into outbox
        (message_id, destination, payload, correlation_id, traceparent, status, due_time, settle_time, deliver_time)
    values (gen_random_uuid(), 'solo60.communication.v1.CommunicationService/SendEmailAsync', $1, 'by-hand', '', $2,
        case $2 when 'pending' then now() + interval '1 hour' end, case $2 when 'pending' then null else now() end,
        now() + interval '1 hour')
"""


async def wait_until_delivered(mesh: MeshForTests) -> None:
    """Wait until no outbox has a due message, and assert that there is no dead letter."""

    async def is_drained() -> bool:
        for name in SERVICES:
            async with mesh.database(name).connection() as connection:
                if await connection.fetch(DUE):
                    return False
        return True

    await eventually(is_drained)
    for name in SERVICES:
        async with mesh.database(name).connection() as connection:
            assert await connection.fetch(DEAD) == []


async def hits_in(mesh: MeshForTests, person: Person) -> dict[str, list[Hit]]:
    """Return every place that contains personal data of the person, by service."""
    return {name: found for name in SERVICES if (found := await find_texts(mesh.database_url_of(name), person.texts))}


async def add_dead_letters(mesh: MeshForTests, person: Person) -> None:
    """Add a mail to the person to each outbox: delivered, given up, and still pending."""
    for name in SERVICES:
        if name == "gym":
            continue
        async with mesh.database(name).connection() as connection:
            for status in ("delivered", "dead", "pending"):
                await connection.execute(ADD_DEAD_LETTER, dead_letter(person), status)


async def test_an_erasure_leaves_nothing_personal_in_any_database(mesh: MeshForTests, tmp_path: Path) -> None:
    """After an erasure, no table of any service contains a text about the person, in any encoding.

    Before the erasure, the same search finds every text. Data of other members and the amounts remain.
    """
    booking, subscriptions = BookingMesh(mesh, {}, tmp_path), SubscriptionMesh(mesh, tmp_path)
    host_id = await booking.create_member(email=HOST_EMAIL, display_name=HOST_NAME)
    person = await Life(mesh, booking, subscriptions).live(host_id)
    await wait_until_delivered(mesh)
    await add_dead_letters(mesh, person)
    before = await hits_in(mesh, person)
    assert_everything_is_found(before, person)

    await booking.users.EraseUser(EraseUserRequest(user_id=person.user_id))

    async def is_erased() -> bool:
        return await has_finished(mesh, person)

    await eventually(is_erased)
    await wait_until_delivered(mesh)
    assert await hits_in(mesh, person) == {}
    await assert_the_rest_remains(mesh, booking, person)


async def has_finished(mesh: MeshForTests, person: Person) -> bool:
    """Return whether the user is a stone, every subscriber of UserErased has answered, and no guest is left."""
    async with mesh.database("user").connection() as connection:
        handled = await connection.fetchval(
            "select count(*) from outbox where destination like '%/OnUserErased' and status = 'delivered'"
        )
        subscribers = await connection.fetchval("select count(*) from outbox where destination like '%/OnUserErased'")
    async with mesh.database("session").connection() as connection:
        guests = await connection.fetchval(
            "select count(*) from guests where email <> '' and session_id = any($1)",
            [UUID(each) for each in person.session_ids],
        )
    return bool(subscribers) and handled == subscribers and guests == 0


def assert_everything_is_found(before: dict[str, list[Hit]], person: Person) -> None:
    """Assert that the search finds each text, and that each service with personal data has some."""
    assert set(before) == set(SERVICES) - {"gym"}
    found = {hit.text for hits in before.values() for hit in hits}
    assert found == {str(text) for text in person.texts}
    places = {(name, hit.table, hit.column, hit.text) for name, hits in before.items() for hit in hits}
    assert places >= {
        ("user", "public.users", "email", EMAIL),
        ("user", "public.users", "display_name", NAME),
        ("user", "public.idempotency_keys", "response", EARLIER_NAME),
        ("session", "public.guests", "email", EMAIL),
        ("session", "public.guests", "email", GUEST_EMAIL),
        ("session", "public.idempotency_keys", "response", GUEST_NAME),
        ("session", "public.sessions", "cancel_reason", CANCEL_REASON),
        ("session", "public.sessions", "cancel_reason", REJECT_REASON),
        ("payment", "public.transactions", "reason", GRANT_REASON),
        ("payment", "public.payments", "refund_reason", REFUND_REASON),
        ("payment", "public.transactions", "reason", CREDIT_REASON),
        ("subscription", "public.webhooks", "payload", WEBHOOK_NAME),
        ("communication", "public.messages", "recipients", EMAIL),
        ("communication", "public.messages", "mail", NAME),
        ("communication", "public.messages", "mail", GUEST_NAME),
        *((name, "public.outbox", "payload", EMAIL) for name in set(SERVICES) - {"gym"}),
    }


async def assert_the_rest_remains(mesh: MeshForTests, booking: BookingMesh, person: Person) -> None:
    """Assert that amounts and ids remain, that upcoming sessions are cancelled, and that the host is untouched."""
    erased = (await booking.users.GetUser(GetUserRequest(user_id=person.user_id))).user
    assert (erased.email, erased.display_name, erased.state) == ("", "", USER_STATE_DELETED)
    assert isinstance(erased, User)
    assert erased.HasField("erase_time")
    for session_id in person.session_ids:
        session = await booking.find_session(session_id)
        assert session.status in (4, 5), session  # cancelled or rejected
        assert await booking.payment_statuses(session_id) == ["REFUNDED"]
    assert await booking.balance(person.user_id) > 0
    assert await find_texts(mesh.database_url_of("user"), [HOST_EMAIL, HOST_NAME])
    assert await find_texts(mesh.database_url_of("communication"), [HOST_EMAIL])
