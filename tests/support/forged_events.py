"""Events of a page, sent by a program instead of a browser: of every element, whatever the page shows of it."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.support.api_client import ask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from websockets.sync.client import ClientConnection

ELEMENTS = re.compile(r"parseElements\(String\.raw`(.*?)`\)", re.DOTALL)
CLIENT_ID = re.compile(r"'client_id': '([^']+)'")
SOCKET = "ws://{}/_nicegui_ws/socket.io/?EIO=4&transport=websocket&client_id={}&tab_id={}&document_id={}"
IMPLICIT = "&implicit_handshake=true&next_message_id=0"
# A page sends its changes within this time after an event.
QUIET_S = 0.3
# A click, and a choice in a dialog.
ARGUMENTS: tuple[list[object], ...] = ([], ["true"], ['{"value": 0, "label": "x"}'])


def forge_all_events(address: str, path: str, cookie: str = "") -> int:
    """Open the page at `path` of the console at `address`, and send each event of each element.

    Elements that appear meanwhile, such as dialogs, get their events too. Return the number of events.
    """
    answer = ask(address, path, accept="text/html", cookie=cookie)
    page = answer.body.decode()
    [elements], [client_id] = ELEMENTS.findall(page), CLIENT_ID.findall(page)
    url = SOCKET.format(address, client_id, uuid4(), uuid4()) + IMPLICIT
    with connect(url, origin=Origin(f"http://{address}"), max_size=None) as socket:
        socket.send("40")
        waiting = set(_events(json.loads(html.unescape(elements))))
        known: set[tuple[int, str]] = set()
        sent = 0
        while waiting:
            known |= waiting
            for element_id, listener_id in waiting:
                for arguments in ARGUMENTS:
                    event = {"client_id": client_id, "id": element_id, "listener_id": listener_id, "args": arguments}
                    socket.send(f"42{json.dumps(['event', event])}")
                    sent += 1
            waiting = {event for update in _updates(socket) for event in _events(update)} - known
    return sent


def _events(elements: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """Yield the id of each element with the id of each of its listeners."""
    for element_id, element in elements.items():
        for event in element.get("events", ()) if isinstance(element, dict) else ():
            yield int(element_id), event["listener_id"]


def _updates(socket: ClientConnection) -> Iterator[dict[str, Any]]:
    """Yield the changed elements until the page is quiet."""
    while True:
        try:
            message = socket.recv(QUIET_S)
        except (TimeoutError, ConnectionClosed):
            return
        if message == "2":
            socket.send("3")
        elif isinstance(message, str) and message.startswith("42"):
            name, content = json.loads(message[2:])[:2]
            if name == "update":
                yield content
