"""Comparison of two versions of contracts."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from contracts.diff.field_rules import predefined_rule_changes
from contracts.diff.kinds import Severity
from contracts.diff.messages import message_changes
from contracts.diff.methods import late_callers, method_changes, service_changes
from contracts.diff.reasons import reason_changes
from contracts.diff.versions import Versions

if TYPE_CHECKING:
    from contracts.diff.change import Change
    from contracts.image import Image


def changes_between(before: Image, after: Image) -> list[Change]:
    """Return the changes of policies, options, rules and events that `after` makes to `before`, the worst first.

    Works on any contracts. Of the changes that `buf breaking` finds, the list has only removed methods, removed events
    and removed fields of events, because of their callers. Raises ImageError if a rule of `after` does not compile.
    """
    versions = Versions(before, after)
    changes = chain(
        method_changes(versions),
        late_callers(versions),
        service_changes(versions),
        message_changes(versions),
        predefined_rule_changes(versions),
        reason_changes(versions),
    )
    severities = list(Severity)
    return sorted(changes, key=lambda each: (severities.index(each.severity), each.location, each.id, each.subject))
