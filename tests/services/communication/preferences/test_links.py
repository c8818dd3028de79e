"""Tests of unsubscribe links: only this service can make one, and it means only one user and category."""

from __future__ import annotations

import base64
import hmac
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from contracts.errors import UnsubscribeTokenInvalid
from mesh.config import Settings
from services.communication.preferences.domain import Category
from services.communication.preferences.links import PURPOSE, UnsubscribeLinks

URL = "https://mail.solo60.example/unsubscribe"
SECRET, OLD_SECRET = b"a" * 32, b"b" * 32
LINKS = UnsubscribeLinks(URL, (SECRET,))
ADA, BOB = uuid4(), uuid4()


def token_for(user_id: UUID, category: Category = Category.REMINDERS, links: UnsubscribeLinks = LINKS) -> str:
    """Return the token of a link."""
    link = links.link_for(user_id, category)
    assert link is not None
    return link.rpartition("/")[2]


def flipped(token: str, index: int) -> str:
    """Return the token with one bit of the byte at `index` changed."""
    content = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    content[index] ^= 1
    return base64.urlsafe_b64encode(bytes(content)).decode().rstrip("=")


@given(st.uuids(), st.sampled_from([Category.REMINDERS, Category.WAITING_LIST]))
def test_a_link_names_its_user_and_category(user_id: UUID, category: Category) -> None:
    """A link is an HTTPS address with a token of URL characters, which names the user and the category of the mail."""
    link = LINKS.link_for(user_id, category)

    assert link is not None
    assert link.startswith(f"{URL}/")
    token = link.removeprefix(f"{URL}/")
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert LINKS.read(token) == (user_id, category)
    assert base64.urlsafe_b64decode(token + "==")[16:] == user_id.bytes + category.encode()  # and no secret


@pytest.mark.parametrize("category", [Category.BOOKINGS, Category.PAYMENTS, Category.SECURITY])
def test_a_mail_that_is_always_sent_has_no_link(category: Category) -> None:
    """A mail that cannot be switched off has no link."""
    assert LINKS.link_for(ADA, category) is None


def test_a_mail_without_user_or_without_url_has_no_link() -> None:
    """A mail to somebody without an account has no link, nor has any mail if no address is set."""
    assert LINKS.link_for(None, Category.REMINDERS) is None
    assert UnsubscribeLinks(None, ()).link_for(ADA, Category.REMINDERS) is None


@pytest.mark.parametrize("index", range(len(base64.urlsafe_b64decode(token_for(ADA) + "=="))))
def test_a_changed_token_is_invalid(index: int) -> None:
    """A token with any changed byte is invalid, so that nobody can turn their own link into another user's."""
    with pytest.raises(UnsubscribeTokenInvalid):
        LINKS.read(flipped(token_for(ADA), index))


def test_the_signature_of_one_user_is_invalid_for_another() -> None:
    """The signature of one link is invalid with the content of another one."""
    one, other = token_for(ADA), token_for(BOB)
    signature = base64.urlsafe_b64decode(one + "==")[:16]
    content = base64.urlsafe_b64decode(other + "==")[16:]

    with pytest.raises(UnsubscribeTokenInvalid):
        LINKS.read(base64.urlsafe_b64encode(signature + content).decode())


@given(st.text(max_size=200))
@example("")
@example("A")
@example("AAAA" * 10)
@example("é" * 40)
@example(base64.urlsafe_b64encode(ADA.bytes + b"reminders").decode())
@example("../" * 10)
def test_a_made_up_token_is_invalid(token: str) -> None:
    """No made-up token is valid, and reading one raises no other error."""
    with pytest.raises(UnsubscribeTokenInvalid):
        LINKS.read(token)


@pytest.mark.parametrize("category", ["news", Category.BOOKINGS])
def test_a_category_that_cannot_be_switched_off_is_invalid(category: str) -> None:
    """A signed token of a category that this version does not know, or always sends, is invalid."""
    content = ADA.bytes + category.encode()
    signed = hmac.digest(SECRET, PURPOSE + content, "sha256")[:16] + content

    with pytest.raises(UnsubscribeTokenInvalid):
        LINKS.read(base64.urlsafe_b64encode(signed).decode().rstrip("="))


def test_a_token_without_secrets_is_invalid() -> None:
    """Without secrets, no token is valid, not even one that is signed with an empty secret."""
    content = ADA.bytes + b"reminders"
    unsigned = base64.urlsafe_b64encode(hmac.digest(b"", PURPOSE + content, "sha256")[:16] + content).decode()

    for token in (token_for(ADA), unsigned):
        with pytest.raises(UnsubscribeTokenInvalid):
            UnsubscribeLinks(URL, ()).read(token)


def test_a_secret_can_be_replaced() -> None:
    """The first secret signs. Links of every listed secret are valid, and links of a dropped secret are not."""
    old = token_for(ADA, links=UnsubscribeLinks(URL, (OLD_SECRET,)))
    both = UnsubscribeLinks(URL, (SECRET, OLD_SECRET))

    assert both.read(old) == (ADA, Category.REMINDERS)
    assert LINKS.read(token_for(ADA, links=both)) == (ADA, Category.REMINDERS)
    with pytest.raises(UnsubscribeTokenInvalid):
        LINKS.read(old)


def test_the_settings_list_the_secrets() -> None:
    """The secrets of the setting are separated by commas."""
    secrets = SecretStr(f"{SECRET.decode()}, {OLD_SECRET.decode()}")
    settings = Settings(_env_file=None, unsubscribe_url=URL, unsubscribe_secrets=secrets)  # type: ignore[call-arg]

    assert UnsubscribeLinks.of(settings) == UnsubscribeLinks(URL, (SECRET, OLD_SECRET))
