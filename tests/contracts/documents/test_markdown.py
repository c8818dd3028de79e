"""Markdown documents that `buf generate` has written, of this repository and of examples/acme."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from contracts.documents.commands import Commands, ShellWords
from contracts.documents.markdown import ServiceDocument
from contracts.documents.markdown_text import anchor, code, comment_text, table, without_html
from tests.contracts.documents.compiled import catalog_of, catalog_of_ours
from tests.support.node import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from contracts.documents.catalog import Catalog

DOCUMENTS = sorted([*(ROOT / "gen/docs").glob("*.md"), *(ROOT / "examples/acme/gen/docs").glob("*.md")])
LINK = re.compile(r"\]\(([^)]+)\)")
TEXT = re.compile(r"```.*?```", re.DOTALL)


def anchors_of(document: Path) -> list[str]:
    """Return the anchors of all headings in a document."""
    return [anchor(line.lstrip("# ")) for line in document.read_text().splitlines() if re.match(r"#{1,6} ", line)]


def document_of(catalog: Catalog) -> str:
    """Return the document about the first service of a catalog."""
    return ServiceDocument(catalog, catalog.services[0], Commands(catalog, ShellWords())).text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    """Each link of a document leads to a heading of a document that exists."""
    targets = {target for target in LINK.findall(TEXT.sub("", document.read_text())) if "://" not in target}
    for target in targets:
        file, _, heading = target.partition("#")
        linked = document.parent / file if file else document
        assert linked.exists(), target
        assert not heading or heading in anchors_of(linked), target
    assert targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_headings_are_unique(document: Path) -> None:
    """No two headings of a document have the same anchor, so each link leads to the right one."""
    found = anchors_of(document)

    assert len(found) == len(set(found))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_has_no_html(document: Path) -> None:
    """Documents consist of Markdown alone: a placeholder such as <x> in a comment does not vanish as an HTML tag."""
    assert not re.search(r"(?<!\\)<[a-z/!]", re.sub(r"`[^`]*`", "", TEXT.sub("", document.read_text())))


def test_every_service_has_a_document() -> None:
    """Each service of our contracts has a document, named by the service."""
    names = {f"{service.document}.md" for service in catalog_of_ours().services}

    assert {path.name for path in (ROOT / "gen/docs").glob("*.md")} == names
    assert "session.md" in names


def test_two_services_of_a_package_get_a_document_each() -> None:
    """Services that would have the same short name are named in full."""
    catalog = catalog_of("message M {} service A { rpc Do(M) returns (M); } service B { rpc Do(M) returns (M); }")

    assert [service.document for service in catalog.services] == ["test.v1.A", "test.v1.B"]


def test_an_event_names_its_subscribers() -> None:
    """The section of an event links the methods that subscribe to it."""
    user = (ROOT / "gen/docs/user.md").read_text()
    section = user.partition("### UserLeft\n")[2].partition("### ")[0]

    assert "[`SessionService/OnUserLeft`](session.md#onuserleft)" in section


def test_a_contract_without_any_option_is_documented() -> None:
    """A service of a contract without policies, rules or comments has a document."""
    catalog = catalog_of("message M { optional string a = 1; } service A { rpc Do(stream M) returns (M); }")
    text = document_of(catalog)

    assert "### Do\n\n**Client streaming:**" in text
    assert "| policy |" not in text
    assert "## Errors of every method" not in text


def test_cells_of_a_table_have_one_line() -> None:
    """A cell of a table has no line break and no unescaped bar."""
    assert table(("a",), [("x\ny|z",)]) == "| a |\n| --- |\n| x y\\|z |"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a `tick, <b>\n\nand `<c>`", "a `tick, \\<b>\n\nand `<c>`"),
        ("| a `tick | <b> | `<c>` |", "| a `tick | \\<b> | `<c>` |"),
        ("``a ` <b>`` <c>", "``a ` <b>`` \\<c>"),
        ("\\<b> and \\` <c>`", "\\<b> and \\` \\<c>`"),
        ("```sh\n<b>\n```\n<c>", "```sh\n<b>\n```\n\\<c>"),
    ],
    ids=["open tick in a paragraph", "open tick in a cell", "longer ticks", "escaped", "block"],
)
def test_only_code_keeps_its_angle_brackets(text: str, expected: str) -> None:
    """HTML is escaped outside of code. A backtick without a second one in its paragraph or cell begins no code."""
    assert without_html(text) == expected


def test_a_comment_cannot_change_the_document_around_it() -> None:
    """A comment adds no heading, ends its own block of code, and holds no escape sequence."""
    assert comment_text("Text\n# Heading\n---\n- item") == "Text\n\\# Heading\n\\---\n- item"
    assert comment_text("```sh\n# note\n```") == "```sh\n# note\n```"
    assert comment_text("Text\n```\nopen") == "Text\n```\nopen\n```"
    assert comment_text("\x1b[31mred") == "\N{REPLACEMENT CHARACTER}[31mred"


def test_code_has_more_ticks_than_its_text() -> None:
    """Inline code with backticks is enclosed in more of them."""
    assert [code("a"), code("`a"), code("a``b")] == ["`a`", "`` `a ``", "``` a``b ```"]
