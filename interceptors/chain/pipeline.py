"""Pipeline of a method: its interceptors and its handler as one coroutine function, composed once.

Interceptors that only act before and after the handler run in one loop, in one coroutine for all of them. An
interceptor that awaits gets a coroutine of its own around the rest of the pipeline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from interceptors.chain.call import Call, Finish, Proceed

    Start = Callable[[Call], Finish | None]


def around(starts: Sequence[Start], proceed: Proceed) -> Proceed:
    """Return a function that calls `starts`, runs `proceed`, and then calls what `starts` returned, in reverse.

    Each gets the error of the call so far, or None. An error that it raises replaces the error so far.
    """
    if not starts:
        return proceed
    starts = tuple(starts)

    async def run(call: Call) -> bytes | None:
        finishes: list[Finish] = []
        error: BaseException | None = None
        response = None
        try:
            for start in starts:
                finish = start(call)
                if finish is not None:
                    finishes.append(finish)
            response = await proceed(call)
        except BaseException as raised:  # noqa: BLE001 - raised again below
            error = raised
        while finishes:
            try:
                finishes.pop()(error)
            except BaseException as raised:  # noqa: BLE001 - likewise
                error = raised
        if error is None:
            return response
        try:
            raise error
        finally:
            del error  # its traceback holds this frame

    return run
