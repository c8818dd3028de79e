"""Description of a chain: what each interceptor does for the calls of one method."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interceptors.chain.server import ServerInterceptor
from interceptors.errors.responses import ErrorResponses

if TYPE_CHECKING:
    from collections.abc import Iterable

    from contracts.method import Method
    from interceptors.chain.client import ClientInterceptor

BEFORE, AFTER, AROUND = "before", "after", "around"
EACH_REQUEST, EACH_RESPONSE = "each request", "each response"


@dataclass(frozen=True, slots=True)
class Part:
    """Interceptor of a chain, and when it acts during a call of one method.

    `acts` has "before" and "after" for the rest of the chain and the handler, or "around" for an interceptor that may
    await, and "each request" and "each response" for single messages. It is empty if the interceptor does not apply to
    the method.
    """

    interceptor: str
    purpose: str
    acts: tuple[str, ...]


def parts_of(interceptors: Iterable[ServerInterceptor | ClientInterceptor], method: Method) -> list[Part]:
    """Return the parts of a chain for `method`, in the order of `interceptors`."""
    return [
        Part(type(each).__name__, _purpose_of(each), _acts_of(each, method) if each.applies_to(method) else ())
        for each in interceptors
    ]


def _purpose_of(interceptor: object) -> str:
    """Return the predicate of the docstring's first sentence, which begins with "Server interceptor that"."""
    sentence, _, _ = " ".join((inspect.getdoc(interceptor) or "").split()).partition(". ")
    _, _, predicate = sentence.partition("interceptor that ")
    return (predicate or sentence).rstrip(".")


def _acts_of(interceptor: ServerInterceptor | ClientInterceptor, method: Method) -> tuple[str, ...]:
    acts = [AFTER] if isinstance(interceptor, ErrorResponses) else [*_acts_on_calls(interceptor, method)]
    if interceptor.request_hook(method):
        acts.append(EACH_REQUEST)
    if interceptor.response_hook(method):
        acts.append(EACH_RESPONSE)
    return tuple(acts)


def _acts_on_calls(interceptor: ServerInterceptor | ClientInterceptor, method: Method) -> tuple[str, ...]:
    kind = type(interceptor)
    if issubclass(kind, ServerInterceptor) and kind.intercept is not ServerInterceptor.intercept:
        return (AROUND,)
    start = interceptor.start_of(method)
    if start is None:
        return ()
    # The type checker proves that a function with this annotation returns no other one. A partial has no annotations.
    return (BEFORE,) if inspect.get_annotations(start).get("return") == "None" else (BEFORE, AFTER)
