"""One journey, and the list of recent ones."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from contracts.errors import ServiceError
from operations.journeys.evidence import collect
from operations.journeys.steps import steps_of
from operations.journeys.subjects import SESSION, SUBSCRIPTION, JourneyNotFound, read_subject
from operations.outbox.messages import newest
from operations.texts import moment
from solo60.mesh.v1 import outbox_pb2 as pb
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub

if TYPE_CHECKING:
    from mesh.config import Settings
    from mesh.serving.channel import Channels
    from operations.journeys.steps import Step
    from operations.journeys.subjects import Subject

# The aggregate key of a mail to a member is the id of the session or subscription.
MAILS = {
    SESSION: "solo60.session.v1.SessionService/SendSessionMail",
    SUBSCRIPTION: "solo60.subscription.v1.SubscriptionService/SendSubscriptionMail",
}


@dataclass(frozen=True, slots=True)
class Journey:
    """One booking or subscription: its current state, its steps in the order of time, and its pending work.

    `failures` has a sentence for each source that cannot be read; the steps then lack that source.
    """

    subject: Subject
    steps: list[Step]
    failures: tuple[str, ...]

    @property
    def waits(self) -> list[str]:
        """Sentences about all pending work of this journey."""
        return [*filter(None, [self.subject.waits_for]), *filter(None, map(_wait_of, self.steps))]

    def as_json(self) -> dict[str, Any]:
        """Return the journey as JSON values, with times in ISO 8601."""
        subject = self.subject
        return {
            "kind": subject.kind,
            "id": subject.subject_id,
            "status": subject.status,
            "facts": subject.facts,
            "payments": subject.payments,
            "waits": self.waits,
            "steps": [{name: _json_value(value) for name, value in asdict(step).items()} for step in self.steps],
            "failures": list(self.failures),
        }


@dataclass(frozen=True, slots=True)
class RecentJourney:
    """Journey with a recent mail. `time` is the time of its last mail."""

    kind: str
    subject_id: str
    time: datetime


async def read_journey(settings: Settings, channels: Channels, subject_id: str) -> Journey:
    """Return the journey of the session or subscription with this id.

    Raises JourneyNotFound if there is none, and ServiceError if its service cannot answer.
    """
    try:
        wanted = str(UUID(subject_id))
    except ValueError:
        raise JourneyNotFound(f'"{subject_id}" is not an id. The id of a session or subscription is a UUID.') from None
    subject = await read_subject(channels, wanted)
    evidence = await collect(settings, channels, wanted)
    return Journey(subject, steps_of(evidence), (*subject.failures, *evidence.failures))


async def recent_journeys(channels: Channels, number: int) -> tuple[list[RecentJourney], dict[str, ServiceError]]:
    """Return the journeys with the latest mails, newest first, and the services that did not answer."""
    found: dict[str, RecentJourney] = {}
    failures: dict[str, ServiceError] = {}

    async def ask(kind: str, method: str) -> list[pb.OutboxMessage]:
        try:
            stub = channels.stub(OutboxServiceStub, at=kind)
            return await newest(stub, pb.ListMessagesRequest(destination=method), 2 * number)
        except ServiceError as error:
            failures[kind] = error
            return []

    answers = await asyncio.gather(*(ask(kind, method) for kind, method in MAILS.items()))
    for kind, messages in zip(MAILS, answers, strict=True):
        for message in messages:
            if message.aggregate_key:
                time = message.create_time.ToDatetime(UTC)
                found.setdefault(message.aggregate_key, RecentJourney(kind, message.aggregate_key, time))
    return sorted(found.values(), key=lambda each: each.time, reverse=True)[:number], failures


def _wait_of(step: Step) -> str:
    """Return a sentence about an unsettled outbox message, or "" for any other step."""
    if step.outcome == "dead":
        return f"Stopped: {step.method} was given up after {step.attempts} failed attempts: {step.error}"
    if step.outcome != "pending":
        return ""
    due = f" It is due at {moment(step.due_time)}." if step.due_time else ""
    error = f" The last attempt failed: {step.error}" if step.error else ""
    return f"Waits for {step.method}.{due}{error}"


def _json_value(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
