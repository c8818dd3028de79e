"""Tests of unsubscribing over HTTP, from the header of a real mail to the mail that no longer arrives."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from local.mail_sink import read_mails
from services.communication.app import SERVICE
from services.communication.preferences.domain import Category
from services.communication.preferences.links import UnsubscribeLinks
from solo60.communication.v1 import communication_pb2 as pb
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.user.v1.events_pb2 import UserErased
from tests.services.communication.preferences.conftest import serve_with_links
from tests.services.communication.preferences.requests import REMINDER, USER, preferences_of, update
from tests.services.communication.requests import email

if TYPE_CHECKING:
    from email.message import EmailMessage
    from pathlib import Path

    import httpx

    from local.mail_sink import MailSink
    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub
    from tests.support.serving import MeshForTests, Serve

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


def only_mail(folder: Path) -> EmailMessage:
    """Return the only mail that has arrived."""
    (path,) = (folder / "new").iterdir()
    return message_from_bytes(path.read_bytes(), policy=policy.default)


async def link_of_a_reminder(stub: CommunicationServiceAsyncStub, folder: Path) -> str:
    """Send a reminder and return the link of its header."""
    await stub.SendEmail(REMINDER)
    match = re.fullmatch(r"<(\S+)>", only_mail(folder)["List-Unsubscribe"].strip())
    assert match
    return match[1]


def link_for(mesh: MeshForTests, user_id: str = USER) -> str:
    """Return a valid link for reminders to a user."""
    link = UnsubscribeLinks.of(mesh.settings).link_for(UUID(user_id), Category.REMINDERS)
    assert link
    return link


async def test_one_click_in_a_mail_program_unsubscribes(
    stub: CommunicationServiceAsyncStub, client: httpx.AsyncClient, mail_folder: Path
) -> None:
    """The POST of a mail program, without login or cookie, switches the category off, as often as it is repeated."""
    link = await link_of_a_reminder(stub, mail_folder)
    assert only_mail(mail_folder)["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"

    answers = [await client.post(link, data=ONE_CLICK) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    preferences = await preferences_of(stub)
    assert (preferences.reminders, preferences.waiting_list) == (False, True)
    await stub.SendEmail(REMINDER)
    assert len(read_mails(mail_folder)) == 1


async def test_a_mail_program_may_send_a_multipart_form(
    stub: CommunicationServiceAsyncStub, client: httpx.AsyncClient, mesh: MeshForTests
) -> None:
    """The POST may be encoded as multipart/form-data, which RFC 8058 recommends."""
    answer = await client.post(link_for(mesh), files={"List-Unsubscribe": (None, "One-Click")})

    assert answer.request.headers["content-type"].startswith("multipart/form-data")
    assert answer.status_code == 200
    assert not (await preferences_of(stub)).reminders


async def test_both_bodies_contain_the_link(stub: CommunicationServiceAsyncStub, mail_folder: Path) -> None:
    """Text and HTML of a mail end with the link of its header, for mail programs without an unsubscribe button."""
    link = await link_of_a_reminder(stub, mail_folder)

    text, html = [part.get_content() for part in only_mail(mail_folder).iter_parts()]
    assert text.endswith(f"\nSolo60\n\n--\nUnsubscribe from reminders: {link}\n")
    assert re.findall(r'href="([^"]*)"', html) == [link]


async def test_a_link_only_opens_a_page(
    stub: CommunicationServiceAsyncStub, client: httpx.AsyncClient, mesh: MeshForTests
) -> None:
    """GET and HEAD change nothing, because scanners follow links. The button of the page sends the POST."""
    link = link_for(mesh)

    page = await client.get(link)
    await client.head(link)

    assert page.status_code == 200
    assert "Unsubscribe from reminders?" in page.text
    assert (await preferences_of(stub)).reminders
    ((name, value),) = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)">', page.text)
    assert "action=" not in page.text
    done = await client.post(link, data={name: value})
    assert "You get no more reminders" in done.text
    assert not (await preferences_of(stub)).reminders


async def test_the_pages_load_nothing_and_are_not_stored(client: httpx.AsyncClient, mesh: MeshForTests) -> None:
    """No page runs scripts, can be framed or cached, or sends its address, which contains the token, to other sites."""
    link = link_for(mesh)
    for page in (await client.get(link), await client.post(link, data=ONE_CLICK), await client.get(link + "x")):
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert (page.headers["referrer-policy"], page.headers["cache-control"]) == ("no-referrer", "no-store")
        assert not re.search(r"<script|src=|href=|url\(|@import", page.text)
        assert "set-cookie" not in page.headers


async def test_a_hostile_token_changes_nothing(client: httpx.AsyncClient, mesh: MeshForTests) -> None:
    """A made-up token is answered with 404 by GET and POST, is not repeated, and changes nobody's preferences."""
    for token in ("A" * 60, "x", "%00", "..%2f..%2fetc", "%C3%A9" * 20, "<script>alert(1)</script>"):
        url = f"{mesh.settings.unsubscribe_url}/{token}"
        answers = [await client.get(url), await client.post(url, data=ONE_CLICK)]

        assert [answer.status_code for answer in answers] == [404, 404], token
        assert all("script" not in answer.text for answer in answers)
    async with mesh.database("communication").connection() as connection:
        assert await connection.fetchval("select count(*) from notification_preferences") == 0


async def test_an_erasure_deletes_the_preferences(
    stub: CommunicationServiceAsyncStub, client: httpx.AsyncClient, mesh: MeshForTests
) -> None:
    """Of an erased user, no preferences are stored, and those of other users remain."""
    other = str(uuid4())
    for user_id in (USER, other):
        await client.post(link_for(mesh, user_id), data=ONE_CLICK)

    await stub.OnUserErased(pb.OnUserErasedRequest(event=UserErased(user_id=USER)))

    async with mesh.database("communication").connection() as connection:
        rows = await connection.fetch("select user_id from notification_preferences")
    assert [str(row["user_id"]) for row in rows] == [other]


async def test_a_link_changes_only_its_own_user_and_category(
    stub: CommunicationServiceAsyncStub, client: httpx.AsyncClient, mesh: MeshForTests
) -> None:
    """A link of one user changes neither another user nor another category."""
    other = str(uuid4())

    await client.post(link_for(mesh), data=ONE_CLICK)

    assert (await preferences_of(stub, other)).reminders
    assert (await preferences_of(stub)).waiting_list


async def test_an_old_link_works_after_switching_on_again(
    stub: CommunicationServiceAsyncStub, client: httpx.AsyncClient, mesh: MeshForTests
) -> None:
    """A link works more than once: it also unsubscribes a user who has switched the category on again."""
    link = link_for(mesh)
    await client.post(link, data=ONE_CLICK)
    await stub.UpdateNotificationPreferences(update(reminders=True))

    await client.post(link, data=ONE_CLICK)

    assert not (await preferences_of(stub)).reminders


async def test_a_post_without_the_words_of_the_rfc_changes_nothing(
    stub: CommunicationServiceAsyncStub, client: httpx.AsyncClient, mesh: MeshForTests
) -> None:
    """A POST that neither the button nor a mail program sends is answered with 400 and changes nothing."""
    answers = [
        await client.post(link_for(mesh)),
        await client.post(link_for(mesh), data={"List-Unsubscribe": "yes"}),
        await client.post(link_for(mesh), content=b"One-Click"),
    ]

    assert [answer.status_code for answer in answers] == [400, 400, 400]
    assert (await preferences_of(stub)).reminders


async def test_other_methods_and_paths_do_not_exist(client: httpx.AsyncClient, mesh: MeshForTests) -> None:
    """Other methods are answered with 405, and a path without a token with 404."""
    assert (await client.delete(link_for(mesh))).status_code == 405
    assert (await client.get(str(mesh.settings.unsubscribe_url))).status_code == 404


async def test_an_unavailable_database_is_reported(
    client: httpx.AsyncClient, serve: Serve, mail_sink: MailSink
) -> None:
    """While the preferences cannot be stored, the POST is answered with an error, so that it can be repeated."""
    mesh = await serve_with_links(serve, mail_sink, deadline_factor=0.2)
    async with mesh.database("communication").connection() as connection:
        await connection.execute("begin; lock table notification_preferences in access exclusive mode")
        await connection.execute("set local idle_in_transaction_session_timeout = 0")
        answer = await client.post(link_for(mesh), data=ONE_CLICK)
        await connection.execute("rollback")

    assert answer.status_code in (503, 504)


async def test_mail_that_is_always_sent_has_no_link(stub: CommunicationServiceAsyncStub, mail_folder: Path) -> None:
    """A mail about a booking has no unsubscribe header and no link."""
    await stub.SendEmail(email())

    mail = only_mail(mail_folder)
    assert "List-Unsubscribe" not in mail
    assert "List-Unsubscribe-Post" not in mail
    assert "nsubscribe" not in mail.as_string()


async def test_without_a_public_address_there_is_no_link(serve: Serve, mail_sink: MailSink, mail_folder: Path) -> None:
    """Without UNSUBSCRIBE_URL, reminders have no header and no link."""
    mesh = await serve(SERVICE, smtp_url=mail_sink.url)
    await mesh.stub(CommunicationServiceStub).SendEmail(REMINDER)

    assert "nsubscribe" not in only_mail(mail_folder).as_string()
