"""OpenAPI document of the console, and Scalar on it in a browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from console.frame import THEME_COOKIE
from contracts.services import all_methods
from tests.support.api_client import JSON, ask, operator_key
from tests.support.browser import SCREENS, SIZES

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.browser import Visitor
    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system

DOCUMENT = "/internal/openapi.json"
REFERENCE = "/internal/docs/openapi"
LIST_GYMS = "/solo60.gym.v1.GymService/ListGyms"


def test_the_document_has_the_methods_that_are_served(console_mesh: LocalMesh) -> None:
    """The document has exactly the methods that the console serves, their schemas, and the console as the server."""
    address = console_mesh.settings.console_listen_address
    answer = ask(address, DOCUMENT)
    document = answer.json()
    without_key = {path: ask(address, path, "{}", **JSON).status for path in document["paths"]}

    assert set(document["paths"]) == {f"/{name}" for name in all_methods()}
    # 415 is the answer of a streaming method to plain JSON.
    assert set(without_key.values()) == {401, 415}
    assert document["servers"][0]["url"] == "/"
    assert not any("servers" in item for item in document["paths"].values())
    schemas = document["components"]["schemas"]
    assert not any(name.startswith("solo60.example") for name in schemas)
    assert set(re.findall(r'"\$ref":"#/components/schemas/([^"]+)"', answer.body.decode())) == set(schemas)


def test_a_known_document_is_not_sent_again(console_mesh: LocalMesh) -> None:
    """A request with the ETag of the document gets 304."""
    address = console_mesh.settings.console_listen_address
    etag = ask(address, DOCUMENT).headers["etag"]
    known = ask(address, DOCUMENT, if_none_match=f'"other", W/{etag}')

    assert (known.status, known.body) == (304, b"")
    assert ask(address, DOCUMENT, if_none_match='"other"').status == 200


def _take_screens(page: Page, theme: str) -> None:
    SCREENS.mkdir(parents=True, exist_ok=True)
    for width, size in SIZES.items():
        page.set_viewport_size(size)  # type: ignore[arg-type]  # a typed dictionary
        page.screenshot(path=SCREENS / f"api-{theme}-{width}.png")


def _open(visitor: Visitor) -> Page:
    page = visitor.context.new_page()
    page.goto(f"{visitor.base}{REFERENCE}#tag/solo60gymv1gymservice/POST{LIST_GYMS}")
    expect(page.get_by_role("heading", name="GymService/ListGyms")).to_be_visible()
    return page


def test_try_it_lists_gyms(visitor: Visitor, console_mesh: LocalMesh) -> None:
    """Scalar calls a method with the key in its field, and shows the answer. The key is not stored in the browser."""
    key = operator_key(console_mesh)
    listed = ask(console_mesh.settings.console_listen_address, LIST_GYMS, "{}", **JSON, x_api_key=key).json()
    page = _open(visitor)
    page.get_by_label("Value").fill(key)
    page.get_by_role("button", name=LIST_GYMS).click()
    client = page.get_by_role("dialog")
    with page.expect_response(f"**{LIST_GYMS}") as answered:
        client.get_by_role("button", name="Send post request").first.click()

    assert answered.value.status == 200
    assert answered.value.json()["gyms"] == listed["gyms"][:20]
    expect(client.get_by_text("200 OK")).to_be_visible()
    assert key not in page.evaluate("JSON.stringify([localStorage, sessionStorage])")
    assert key not in page.url
    _take_screens(page, "light")


def test_the_reference_has_the_theme_of_the_console(visitor: Visitor) -> None:
    """The reference follows the theme that the reader chose."""
    visitor.context.add_cookies([{"name": THEME_COOKIE, "value": "dark", "url": visitor.base}])
    page = _open(visitor)

    expect(page.locator("body.dark-mode")).to_have_count(1)
    _take_screens(page, "dark")
