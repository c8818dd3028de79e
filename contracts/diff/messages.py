"""Changes of messages, their fields, and events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import protovalidate
from google.protobuf.descriptor_pb2 import FieldOptions
from google.protobuf.message_factory import GetMessageClass

from contracts.diff.change import change
from contracts.diff.field_rules import containing_message, field_rule_changes, message_rule_changes
from contracts.image import ImageError
from contracts.policy import is_event
from contracts.violations import violations_of
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, FieldDescriptor

    from contracts.diff.change import Change
    from contracts.diff.versions import Versions

_PII = (policy_pb2.PII_FIELD_NUMBER, "pii")
_EVENT = (policy_pb2.EVENT_FIELD_NUMBER, "event")
_DEPRECATED = (FieldOptions.DESCRIPTOR.fields_by_name["deprecated"].number, "deprecated")


def message_changes(versions: Versions) -> Iterator[Change]:
    """Yield the changes of every message of the old contracts."""
    for old in versions.before.messages():
        new = versions.new_messages.get(old.full_name)
        yield from _event_changes(versions, old, new)
        if new is not None:
            yield from message_rule_changes(versions, old, new)
            yield from _field_changes(versions, old, new)


def _event_changes(versions: Versions, old: Descriptor, new: Descriptor | None) -> Iterator[Change]:
    subscribers = versions.usage.subscribers_of([old.full_name])
    if not is_event(old):
        if new is not None and is_event(new):
            yield change("EVENT_ADDED", new.full_name, "The message is an event now.", versions.place_of(new, _EVENT))
    elif new is None:
        place = versions.place_of_removed(old, old.file)
        yield change("EVENT_REMOVED", old.full_name, "The message is gone.", place, subscribers)
    elif not is_event(new):
        text = "The message is no event any more."
        yield change("EVENT_REMOVED", new.full_name, text, versions.place_of(new), subscribers)
    else:
        before, now = (each.GetOptions().Extensions[policy_pb2.event].aggregate_key for each in (old, new))
        if before != now:
            text = f"event.aggregate_key: {before or 'none'} before, {now or 'none'} now."
            place = versions.place_of(new, _EVENT, "aggregate_key")
            yield change("AGGREGATE_KEY_CHANGED", new.full_name, text, place, subscribers)


def _field_changes(versions: Versions, old: Descriptor, new: Descriptor) -> Iterator[Change]:
    for number, field in old.fields_by_number.items():
        now = new.fields_by_number.get(number)
        if now is None:
            yield from _removed_field(versions, field, new)
        elif field.GetOptions() != now.GetOptions():
            yield from field_rule_changes(versions, field, now)
            yield from _pii_changes(versions, field, now)
            yield from _deprecation_changes(versions, field, now)
    if set(new.fields_by_number) - set(old.fields_by_number) and versions.usage.uses_of(old.full_name).is_sent:
        yield from _required_fields(versions, old, new)


def _removed_field(versions: Versions, field: FieldDescriptor, message: Descriptor) -> Iterator[Change]:
    """Yield a change if the field was part of an event. `buf breaking` finds every other removed field."""
    events = versions.usage.uses_of(message.full_name).events
    if events:
        text, subscribers = f"The field {field.number} is gone.", versions.usage.subscribers_of(events)
        yield change("EVENT_FIELD_REMOVED", field.full_name, text, versions.place_of(message), subscribers)


def _pii_changes(versions: Versions, old: FieldDescriptor, new: FieldDescriptor) -> Iterator[Change]:
    before, now = (each.GetOptions().Extensions[policy_pb2.pii] for each in (old, new))
    if before != now:
        text = f"pii: {before} before, {now} now.".lower()
        users = versions.usage.users_of(containing_message(old).full_name)
        yield change("PII_ADDED" if now else "PII_REMOVED", new.full_name, text, versions.place_of(new, _PII), users)


def _deprecation_changes(versions: Versions, old: FieldDescriptor, new: FieldDescriptor) -> Iterator[Change]:
    before, now = (each.GetOptions().deprecated for each in (old, new))
    if before != now:
        id_ = "FIELD_DEPRECATED" if now else "FIELD_DEPRECATION_REMOVED"
        text = f"deprecated: {before} before, {now} now.".lower()
        users = versions.usage.users_of(containing_message(old).full_name)
        yield change(id_, new.full_name, text, versions.place_of(new, _DEPRECATED), users)


def _required_fields(versions: Versions, old: Descriptor, new: Descriptor) -> Iterator[Change]:
    """Yield a change for each new field whose rules reject a message without the field."""
    message = GetMessageClass(new)()
    try:
        violations = violations_of(message)
    except (protovalidate.CompilationError, protovalidate.EvaluationError) as error:
        raise ImageError(f"{new.full_name}: a rule cannot be evaluated: {error}") from None
    rejected = {violation.field: violation.description for violation in violations}
    for number, field in new.fields_by_number.items():
        if number not in old.fields_by_number and field.name in rejected:
            text = f"The new field {rejected[field.name]}."
            senders = versions.usage.senders_of(new.full_name)
            yield change("REQUEST_FIELD_REQUIRED", field.full_name, text, versions.place_of(field), senders)
