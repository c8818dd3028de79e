"""Users of contracts: the callers of each method, and the methods and events that contain each message."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from contracts.edges import EdgeKind, edges_of
from contracts.image import name_of
from contracts.message_types import types_within
from contracts.policy import is_event
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from contracts.image import Image


@dataclass(frozen=True, slots=True)
class Uses:
    """Methods that send or return a message, and events that contain it, at any depth."""

    requests: set[str] = field(default_factory=set)
    responses: set[str] = field(default_factory=set)
    events: set[str] = field(default_factory=set)

    @property
    def is_sent(self) -> bool:
        """Whether servers check the message. A message without any use counts, because other packages may import it."""
        return bool(self.requests) or not (self.responses or self.events)

    @property
    def is_read(self) -> bool:
        """Whether callers or subscribers read the message. A message without any use counts here too."""
        return bool(self.responses or self.events) or not self.requests


class Usage:
    """Users of the methods and messages of one image."""

    def __init__(self, image: Image) -> None:
        self._callers: dict[str, set[str]] = defaultdict(set)
        self._subscribers: dict[str, set[str]] = defaultdict(set)
        for edge in edges_of(image.methods.values()):
            self._callers[edge.callee].add(edge.caller)
            if edge.kind is EdgeKind.EVENT:
                self._subscribers[edge.caller].add(edge.callee)
        for service in image.services():
            for call in service.GetOptions().Extensions[policy_pb2.http_calls]:
                self._callers[call].add(service.full_name)
        self._uses: dict[str, Uses] = defaultdict(Uses)
        self._read_uses(image)

    def _read_uses(self, image: Image) -> None:
        for method in image.methods.values():
            for name in types_within(method.input_type):
                self._uses[name].requests.add(name_of(method))
            for name in types_within(method.output_type):
                self._uses[name].responses.add(name_of(method))
        for event in filter(is_event, image.messages()):
            for name in types_within(event):
                self._uses[name].events.add(event.full_name)

    def uses_of(self, message: str) -> Uses:
        """Return the uses of the message with this full name."""
        return self._uses[message]

    def callers_of(self, methods: Iterable[str]) -> set[str]:
        """Return the methods, services and events that call one of `methods`."""
        return {caller for method in methods for caller in self._callers[method]}

    def subscribers_of(self, events: Iterable[str]) -> set[str]:
        """Return the methods that subscribe to one of `events`."""
        return {subscriber for event in events for subscriber in self._subscribers[event]}

    def senders_of(self, message: str) -> set[str]:
        """Return the callers whose requests contain a message, and the subscribers to events that contain it."""
        uses = self._uses[message]
        return self.callers_of(uses.requests) | self.subscribers_of(uses.events)

    def readers_of(self, message: str) -> set[str]:
        """Return the callers whose responses contain a message, and the subscribers to events that contain it."""
        uses = self._uses[message]
        return self.callers_of(uses.responses) | self.subscribers_of(uses.events)

    def users_of(self, message: str) -> set[str]:
        """Return the senders and the readers of a message."""
        return self.senders_of(message) | self.readers_of(message)
