from __future__ import annotations

import pytest

from contracts.services import SERVICE_NAMES, all_methods
from operations.contracts.catalog import Kind, UnknownContract, entries, find_entry, method_of, search, type_of
from operations.contracts.documents import document_of_type
from operations.contracts.texts import first_sentence, paragraphs


def test_the_catalogue_has_everything_with_a_comment() -> None:
    """Each method, event, enum and error has one sentence; requests and responses are explained by their methods."""
    found = entries()

    assert {each.name for each in found if each.kind == Kind.METHOD} >= set(all_methods())
    assert {each.group for each in found} == {*SERVICE_NAMES, "mesh", "common", "errors"}
    assert len({(each.kind, each.name) for each in found}) == len(found)
    assert not [each.name for each in found if not each.summary and not each.is_of_one_method]


def test_a_search_finds_names_before_comments() -> None:
    """Every word must occur, in any case, and hits in the title come first."""
    found = [each.title for each in search("SESSION book")]

    assert found[0] == "session.BookSession"
    assert "session.CheckConflicts" in found
    assert found.index("session.CheckConflicts") > found.index("session.BookSessionRequest")
    assert not search("session nosuchword")


def test_unknown_names_are_rejected() -> None:
    """The message repeats the name."""
    with pytest.raises(UnknownContract, match=r'There is no method "gym.GetGim"'):
        method_of("gym", "GetGim")
    with pytest.raises(UnknownContract, match=r'There is no message or enum "solo60.gym.v1.Gim"'):
        type_of("solo60.gym.v1.Gim")
    assert find_entry("solo60.gym.v1.Gim") is None


def test_an_event_has_a_publisher_and_subscribers() -> None:
    """The document about an event names both, and the order of its delivery."""
    document = document_of_type(type_of("solo60.user.v1.UserLeft"))

    assert (document.kind, document.publisher, document.aggregate_key) == ("event", "solo60.user.v1", "user_id")
    assert "solo60.session.v1.SessionService/OnUserLeft" in document.subscribers


def test_comments_lose_the_line_breaks_of_their_source() -> None:
    """Paragraphs and the items of lists stay apart."""
    text = "First line\nof one sentence. Second.\n\nList:\n- one\n  and more\n- two"

    assert paragraphs(text) == ["First line of one sentence. Second.", "List:", "- one", "and more", "- two"]
    assert first_sentence(text) == "First line of one sentence."
