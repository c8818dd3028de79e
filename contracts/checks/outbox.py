"""Checks of later calls, subscriptions and events: an outbox can deliver them, in any number of attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.descriptor import FieldDescriptor

from contracts.checks.retries import UNSAFE
from contracts.checks.streams import is_stream
from contracts.checks.subject import repeated
from contracts.edges import EVENT_FIELD
from contracts.policy import is_event, is_repeatable
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, MethodDescriptor

    from contracts.checks.finding import Problem
    from contracts.checks.subject import Subject

STREAM = "is a stream, and an outbox can only call unary methods; choose one"


def later_unknown(subject: Subject) -> Iterator[Problem]:
    """Yield each later call of a method that does not exist."""
    for method, policy in subject.policies:
        for call in policy.calls_later:
            if call not in subject.methods:
                yield subject.in_policy(method, f"calls_later: {subject.no_method(call)}", "calls_later", call)


def later_listed_twice(subject: Subject) -> Iterator[Problem]:
    """Yield each later call that is listed more than once."""
    for method, policy in subject.policies:
        for call in repeated(policy.calls_later):
            yield subject.in_policy(
                method, f"calls_later: {call} is listed more than once; list it once", "calls_later", call
            )


def later_stream(subject: Subject) -> Iterator[Problem]:
    """Yield each later call of a stream."""
    for method, call, callee in _later_calls(subject):
        if is_stream(callee):
            yield subject.in_policy(method, f"calls_later: {call} {STREAM}", "calls_later", call)


def later_unsafe(subject: Subject) -> Iterator[Problem]:
    """Yield each later call of a method that may act twice."""
    for method, call, callee in _later_calls(subject):
        if not is_repeatable(callee.GetOptions()):
            yield subject.in_policy(method, f"calls_later: {call} {UNSAFE}", "calls_later", call)


def subscription_without_event(subject: Subject) -> Iterator[Problem]:
    """Yield each subscription whose request does not carry the event."""
    for method, policy in subject.policies:
        event, subscription = _event_of(method), policy.subscribes_to
        if subscription and event is None:
            message = f'subscribes_to: the request has no field "{EVENT_FIELD}" of type {subscription}; add it'
            yield subject.in_policy(method, message, "subscribes_to")
        elif subscription and event is not None and event.full_name != subscription:
            message = f'subscribes_to: the field "{EVENT_FIELD}" of the request has type {event.full_name}'
            yield subject.in_policy(method, f"{message}, not {subscription}; write the same in both", "subscribes_to")


def subscription_to_other(subject: Subject) -> Iterator[Problem]:
    """Yield each subscription to a message that is not declared to be an event."""
    for method, policy in subject.policies:
        event = _event_of(method)
        if event is not None and event.full_name == policy.subscribes_to and not is_event(event):
            message = f"subscribes_to: {event.full_name} is not declared to be an event"
            message += "; add option (solo60.mesh.v1.event) to it"
            yield subject.in_policy(method, message, "subscribes_to")


def subscription_stream(subject: Subject) -> Iterator[Problem]:
    """Yield each subscription of a stream."""
    for method, policy in subject.policies:
        if policy.subscribes_to and is_stream(method):
            yield subject.in_policy(method, f"subscribes_to: the method {STREAM}", "subscribes_to")


def subscription_unsafe(subject: Subject) -> Iterator[Problem]:
    """Yield each subscription of a method that may act twice."""
    for method, policy in subject.policies:
        if policy.subscribes_to and not is_repeatable(method.GetOptions()):
            yield subject.in_policy(method, f"subscribes_to: the method {UNSAFE}", "subscribes_to")


def event_key(subject: Subject) -> Iterator[Problem]:
    """Yield each event with an aggregate key that is not a string field of the event."""
    for message in filter(is_event, subject.image.messages()):
        name = message.GetOptions().Extensions[policy_pb2.event].aggregate_key
        field = message.fields_by_name.get(name)
        if name and (field is None or field.is_repeated or field.type != FieldDescriptor.TYPE_STRING):
            text = f'event.aggregate_key: the event has no string field "{name}"; name one, or leave the key empty'
            yield subject.problem(message, text, policy_pb2.EVENT_FIELD_NUMBER, "aggregate_key")


def _later_calls(subject: Subject) -> Iterator[tuple[MethodDescriptor, str, MethodDescriptor]]:
    """Yield each caller with the name and the descriptor of a known method that it calls later."""
    for method, policy in subject.policies:
        for call in dict.fromkeys(policy.calls_later):
            if call in subject.methods:
                yield method, call, subject.methods[call]


def _event_of(method: MethodDescriptor) -> Descriptor | None:
    field = method.input_type.fields_by_name.get(EVENT_FIELD)
    return field.message_type if field is not None and not field.is_repeated else None
