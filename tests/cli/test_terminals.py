from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from solo60.communication.v1 import communication_pb2 as pb
from tests.cli.test_messages import MESSAGE
from tests.cli.test_messages import PATH as COMMUNICATION
from tests.cli.test_verbs import stored_span
from tests.support.answers import Answer, stub_server
from tests.support.terminal import solo60_in_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Solo60

pytestmark = pytest.mark.usefixtures("solo60")
WIDTHS = (80, 130)


@pytest.mark.usefixtures("operator_key")
@pytest.mark.parametrize("columns", WIDTHS)
def test_ids_of_messages_are_whole(columns: int) -> None:
    """`messages` shortens no id at 80 or 130 columns, because `messages show` and `messages retry` need whole ids."""
    page = pb.ListFailedMessagesResponse(messages=[MESSAGE, MESSAGE])
    answers = {
        COMMUNICATION + "ListFailedMessages": Answer(page),
        COMMUNICATION + "GetMessage": Answer(pb.GetMessageResponse(message=MESSAGE)),
    }
    with stub_server(os.environ["COMMUNICATION_SERVICE_URL"], answers):
        _, listed = solo60_in_terminal("messages", "list", columns=columns)
        _, shown = solo60_in_terminal("messages", "show", MESSAGE.message_id, columns=columns)

    assert listed.count(MESSAGE.message_id) == 2
    assert MESSAGE.message_id in shown
    assert MESSAGE.email_message_id in shown
    assert "…" not in listed + shown


@pytest.mark.parametrize("columns", WIDTHS)
def test_ids_of_keys_are_whole(solo60: Solo60, columns: int) -> None:
    """`keys list` shortens no id at 80 or 130 columns, even beside the operator's many scopes."""
    for caller in ("operator", "gym"):
        solo60("keys", "issue", caller)
    ids = [entry["key_id"] for entry in json.loads(solo60("keys", "list", "--json").out)]

    _, shown = solo60_in_terminal("keys", "list", columns=columns)

    assert all(id_ in shown for id_ in ids)
    assert "…" not in shown


@pytest.mark.parametrize("columns", WIDTHS)
def test_ids_of_traces_are_whole(columns: int, tmp_path: Path) -> None:
    """`trace` shortens no id at 80 or 130 columns, because `trace` and `logs` need whole ids."""
    (tmp_path / "spans").mkdir()
    id_ = f"{1:032x}"
    (tmp_path / "spans" / "gym.jsonl").write_text(stored_span(id_))

    _, listed = solo60_in_terminal("trace", columns=columns)
    _, shown = solo60_in_terminal("trace", id_, columns=columns)

    assert id_ in listed
    assert "order-17" in listed
    assert id_ in "".join(shown.split())
    assert "…" not in listed + shown


@pytest.mark.parametrize("columns", WIDTHS)
def test_methods_and_addresses_are_whole(columns: int) -> None:
    """`explain` shortens no method and `health` no address at 80 or 130 columns, so that both can be copied."""
    _, explained = solo60_in_terminal("explain", "session.BookSession", columns=columns)
    _, health = solo60_in_terminal("health", columns=columns)

    assert "…" not in explained + health
    assert "solo60.session.v1.SessionService/BookSession" in explained
    assert "payment.ChargeSession" in explained
    assert os.environ["SUBSCRIPTION_SERVICE_URL"] in health
