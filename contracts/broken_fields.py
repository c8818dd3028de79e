"""Fields that break a protovalidate rule, in messages of any descriptor pool.

`contracts.violations` gives whole violations. This module needs no generated code, so plugins of `buf generate` can use
it while that code is out of date.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.validators import COLLECTORS

if TYPE_CHECKING:
    from google.protobuf.message import Message


def broken_fields(message: Message) -> list[str]:
    """Return one entry for each broken rule: the field of `message`, or an empty text for a rule about all of it.

    Raises protovalidate.EvaluationError if a rule cannot be evaluated.
    """
    paths = (violation.proto.field for violation in COLLECTORS[type(message)](message))
    return [path.elements[0].field_name if path and path.elements else "" for path in paths]
