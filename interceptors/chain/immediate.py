"""Results of coroutines that never suspend, for code that cannot await."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

Result = TypeVar("Result")


def immediate_result(coroutine: Coroutine[Any, Any, Result], problem: str) -> Result:
    """Return the result of a coroutine; raise TypeError with `problem` if it suspends."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    coroutine.close()
    raise TypeError(problem)


def status_part(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of a status coroutine of a finished call, such as `rpc.code()`."""
    # grpc.aio has the status only as coroutines, and a callback cannot await. Once the call has ended, they never
    # suspend.
    return immediate_result(coroutine, "The call has no status yet, because it has not ended.")
