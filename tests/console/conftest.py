"""One mesh with a console and one browser for all tests of the console, which run on the same worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local.keys import OPERATOR
from tests.console.outbox_messages import add_dead_letter, delete
from tests.support.browser import chromium, running_browser, visiting
from tests.support.local_mesh import LocalMesh, stopped_mesh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

    from tests.support.browser import Visitor


__all__ = ["browser", "console_mesh", "dead_letter", "operator", "stopped_mesh", "visitor"]


@pytest.fixture(scope="session")
def console_mesh() -> Iterator[LocalMesh]:
    """Start one mesh with a console, for tests that leave it running."""
    chromium()
    with LocalMesh.in_new_folder() as mesh:
        mesh.up(console=True)
        yield mesh


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Start one browser, which ends with these tests: while Playwright runs, its process can run no other loop."""
    with running_browser() as found:
        yield found


@pytest.fixture
def dead_letter(console_mesh: LocalMesh) -> Iterator[Callable[[], str]]:
    """Return a function that adds a dead letter and returns its id. They are deleted at the end of the test."""
    added: list[str] = []

    def add() -> str:
        added.append(add_dead_letter(console_mesh))
        return added[-1]

    yield add
    delete(console_mesh, *added)


@pytest.fixture
def visitor(browser: Browser, console_mesh: LocalMesh) -> Iterator[Visitor]:
    """Return a reader without a key."""
    with visiting(browser, console_mesh.console_url) as found:
        yield found


@pytest.fixture
def operator(visitor: Visitor, console_mesh: LocalMesh) -> Visitor:
    """Return a reader with the operator's key."""
    visitor.sign_in(console_mesh.settings.key_path_of(OPERATOR).read_text().strip())
    return visitor
