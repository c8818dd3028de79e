"""Pipeline of a method: its interceptors and its handler as one coroutine function, composed once.

Interceptors that only act before and after the handler run in one loop, in one coroutine for all of them. An
interceptor that awaits gets a coroutine of its own around the rest of the pipeline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from interceptors.chain.call import Call, Finish, Proceed, Start

# Call of a server or of a client, which start and finish alike.
EitherCall = TypeVar("EitherCall")


def around(starts: Sequence[Start], proceed: Proceed) -> Proceed:
    """Return a function that calls `starts`, runs `proceed`, and then calls the returned functions in reverse order.

    Each gets the call and its error so far, or None. An error that it raises replaces the error so far.
    """
    if not starts:
        return proceed

    async def run(call: Call) -> bytes | None:
        finishes: list[Finish] = []
        response, error = None, None
        try:
            start_all(starts, call, finishes)
            response = await proceed(call)
        except BaseException as raised:  # noqa: BLE001 - raised again below
            error = raised
        error = finish_all(finishes, call, error)
        if error is None:
            return response
        try:
            raise error
        finally:
            del error  # its traceback holds this frame

    return run


def start_all(
    starts: Sequence[Callable[[EitherCall], Callable[[EitherCall, BaseException | None], None] | None]],
    call: EitherCall,
    finishes: list[Callable[[EitherCall, BaseException | None], None]],
) -> None:
    """Call `starts` in order, and append the returned functions to `finishes`."""
    for start in starts:
        finish = start(call)
        if finish is not None:
            finishes.append(finish)


def finish_all(
    finishes: list[Callable[[EitherCall, BaseException | None], None]], call: EitherCall, error: BaseException | None
) -> BaseException | None:
    """Pop and call `finishes` in reverse order; return the call's final error."""
    while finishes:
        try:
            finishes.pop()(call, error)
        except BaseException as raised:  # noqa: BLE001 - returned
            error = raised
    return error


def reject_unused_start(kind: type, base: type) -> None:
    """Raise TypeError if `kind` overrides `start` of a class that overrides `start_of` of `base`.

    No call would run the new `start`, because chains call `start_of`.
    """
    first = next(each for each in kind.__mro__ if not vars(each).keys().isdisjoint(("start", "start_of")))
    owner = next(each for each in kind.__mro__ if "start_of" in vars(each))
    if owner not in (first, base):
        raise TypeError(
            f"{kind.__name__} has the method start of {first.__name__}, but {owner.__name__} starts its calls by "
            f"start_of: override start_of instead, and call super().start_of(method)."
        )
