"""Fields that break a protovalidate rule, in messages of any descriptor pool.

`contracts.violations` gives whole violations. This module needs no generated code, so plugins of `buf generate` can use
it while that code is out of date.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import protovalidate

if TYPE_CHECKING:
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message


def broken_fields(message: Message) -> list[str]:
    """Return one entry for each broken rule: the field of `message`, or an empty text for a rule about all of it.

    Raises protovalidate.EvaluationError if a rule cannot be evaluated.
    """
    found = _validator(message.DESCRIPTOR.file.pool).collect_violations(message)
    paths = (violation.proto.field for violation in found)
    return [path.elements[0].field_name if path and path.elements else "" for path in paths]


@lru_cache(maxsize=4)
def _validator(_pool: DescriptorPool) -> protovalidate.Validator:
    """Return the validator of a pool. A validator knows types by name, so two versions of a type need one each."""
    return protovalidate.Validator()
