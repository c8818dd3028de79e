"""Validators of protovalidate rules: one for generated code, and one for each other descriptor pool.

A validator knows types by name, so two versions of a type need one each. This module needs no generated code, so
plugins of `buf generate` can use it while that code is out of date.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import protovalidate
from google.protobuf import descriptor_pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message

    Collect: TypeAlias = Callable[[Message], list[protovalidate.Violation]]

_GENERATED = protovalidate.Validator()


class _Collectors(dict[type["Message"], "Collect"]):
    """Functions that return the violations in a message, by its type.

    Types of generated code are stored, because reading the pool of each message would take 5 % of the rules' time.
    Other types are not stored, because they should not outlive their pool.
    """

    def __missing__(self, message_type: type[Message]) -> Collect:
        pool = message_type.DESCRIPTOR.file.pool
        if pool is not descriptor_pool.Default():
            return _validator(pool).collect_violations
        return self.setdefault(message_type, _GENERATED.collect_violations)


# COLLECTORS[type(message)](message) raises protovalidate.EvaluationError if a rule cannot be evaluated, and
# protovalidate.CompilationError if a rule does not compile.
COLLECTORS = _Collectors()


@lru_cache(maxsize=4)
def _validator(_pool: DescriptorPool) -> protovalidate.Validator:
    return protovalidate.Validator()
