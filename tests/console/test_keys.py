from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from contracts.scopes import all_scopes
from local.keys import OPERATOR
from mesh.serving.keyring_file import KeyringFile
from operations.keys import issue_key, keys_of, revoke_key
from tests.support.browser import take_screens
from tests.support.local_mesh import wait_for
from tests.support.log_records import records_of

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.support.browser import Visitor
    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system

KEY = re.compile(r"sk_[a-z]+_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}")


def row_of(page: Page, key_id: str) -> Locator:
    """Return the row of a key."""
    return page.get_by_role("row").filter(has_text=key_id)


def actions_in(mesh: LocalMesh) -> list[tuple[str, str, str]]:
    """Return the action, target and caller of each logged action."""
    records = records_of(mesh.settings.log_path_of("console"))
    return [(each["action"], each["target"], each["caller"]) for each in records if each["event"] == "action"]


def test_a_key_is_issued_shown_once_used_and_revoked(console_mesh: LocalMesh, operator: Visitor) -> None:
    """An issued key is shown once and works for calls. After its revocation, calls with it are refused."""
    operator.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = operator.open("/keys?caller=billing")
    page.get_by_role("button", name="Issue a key").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Caller").fill("bill/ing")
    dialog.get_by_role("button", name="Issue").click()
    expect(dialog.get_by_text('"bill/ing" is not a valid caller name')).to_be_visible()
    dialog.get_by_label("Caller").fill("billing")
    dialog.get_by_role("button", name="Issue").click()
    expect(dialog.get_by_text('Choose the scopes of "billing".')).to_be_visible()
    dialog.get_by_label("Scopes of the key").click()
    page.get_by_role("option", name="the scopes of session").click()
    dialog.get_by_role("button", name="Issue").click()

    key = page.get_by_label("New key").inner_text()
    assert KEY.fullmatch(key)
    page.get_by_role("button", name="Copy").click()
    wait_for(lambda: page.evaluate("navigator.clipboard.readText()") == key)
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_text(key)).to_have_count(0)
    page.reload()
    key_id = key.split("_")[2]
    expect(row_of(page, key_id)).to_be_visible()
    assert key not in page.content() + page.url
    assert ("issue key", key_id, OPERATOR) in actions_in(console_mesh)

    call = ("call", "gym.ListGyms", "{}")
    accepted = console_mesh.solo60(*call, service_api_key=key)
    assert accepted.returncode == 0, accepted.stderr

    row_of(page, key_id).get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("It is the only valid key of billing.")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row_of(page, key_id)).to_have_count(0)
    refused = console_mesh.solo60(*call, service_api_key=key)
    assert "UNAUTHENTICATED" in refused.stderr
    assert ("revoke key", key_id, OPERATOR) in actions_in(console_mesh)
    for log in console_mesh.settings.log_folder.iterdir():
        assert key not in log.read_text()


def test_a_rotated_key_of_a_service_goes_into_its_file(console_mesh: LocalMesh, operator: Visitor) -> None:
    """A rotation writes the key file of a service and shows no key. The old key stays valid for the overlap."""
    path = console_mesh.settings.key_path_of("communication")
    old = path.read_text()
    old_id = old.split("_")[2]
    page = operator.open("/keys?caller=communication")
    row_of(page, old_id).get_by_role("button", name="Rotate").click()
    page.get_by_role("dialog").get_by_role("button", name="Rotate").click()

    expect(page.get_by_text(f"{path} contains the new key of communication.")).to_be_visible()
    new_id = path.read_text().split("_")[2]
    expect(row_of(page, new_id)).to_be_visible()
    expect(row_of(page, old_id)).to_contain_text("valid")
    assert new_id != old_id
    assert not KEY.search(page.content())
    assert ("rotate key", new_id, OPERATOR) in actions_in(console_mesh)


def test_the_last_key_with_every_scope_is_not_revoked(console_mesh: LocalMesh, operator: Visitor) -> None:
    """The console refuses to revoke the last key that can manage keys."""
    key_id = console_mesh.settings.key_path_of(OPERATOR).read_text().split("_")[2]
    page = operator.open("/keys?caller=operator")
    row_of(page, key_id).get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("You are signed in with this key.")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()

    expect(page.get_by_text("is the last valid key with every scope, so it is not revoked")).to_be_visible()
    expect(row_of(page, key_id)).to_contain_text("valid")


def test_a_revoked_manager_can_do_nothing_on_an_open_page(console_mesh: LocalMesh, visitor: Visitor) -> None:
    """The right to act is checked again at each action."""
    settings = console_mesh.settings
    manager = issue_key(settings, "manager", all_scopes())
    key_id = settings.key_path_of("gym").read_text().split("_")[2]
    before = settings.key_path_of("gym").read_text()
    try:
        visitor.sign_in(manager.key.get_secret_value())
        page = visitor.open("/keys?caller=gym")
        expect(row_of(page, key_id).get_by_role("button", name="Rotate")).to_be_enabled()
    finally:
        revoke_key(settings, manager.key_id)
    row_of(page, key_id).get_by_role("button", name="Rotate").click()
    page.get_by_role("dialog").get_by_role("button", name="Rotate").click()

    expect(page.get_by_text("Managing keys needs a valid key with every scope")).to_be_visible()
    assert settings.key_path_of("gym").read_text() == before


def test_a_reader_without_the_right_sees_why(console_mesh: LocalMesh, visitor: Visitor) -> None:
    """Without a key, or with one that lacks a scope, nobody acts. The page follows changes of the keyring."""
    settings = console_mesh.settings
    lacking = min(all_scopes())
    page = visitor.open("/keys")
    expect(page.get_by_text("Managing keys needs a valid key with every scope")).to_be_visible()
    expect(page.get_by_role("button", name="Issue a key")).to_be_disabled()

    weak = issue_key(settings, "weak", all_scopes() - {lacking})
    gym = KeyringFile(settings.keyring_path)
    gym.issue("gym", ["gym.read", "user.write"])
    needless = keys_of(settings)[-1].record.key_id
    try:
        expect(row_of(page, weak.key_id)).to_be_visible()
        expect(row_of(page, needless)).to_contain_text(re.compile(r"\d needless"))
        visitor.sign_in(weak.key.get_secret_value())
        visitor.go(page, "/keys")
        expect(page.get_by_text(f"The key of weak lacks {lacking}.")).to_be_visible()
        expect(row_of(page, weak.key_id).get_by_role("button", name="Revoke")).to_be_disabled()
        take_screens(page, "keys")
    finally:
        revoke_key(settings, weak.key_id)
        revoke_key(settings, needless)
