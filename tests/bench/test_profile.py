from __future__ import annotations

from bench.profile import ENGINE, count_parts


def test_a_sample_counts_for_its_innermost_interceptor_module() -> None:
    """A sample counts for the innermost interceptor module on its stack, with the libraries that the module calls.

    Handler and engine have a line each, and other threads are ignored.
    """
    ours = "main (a.py:1);serve (interceptors/chain/server.py:2);intercept (interceptors/access_log.py:3)"
    counts = count_parts(
        [
            f"{ours};dumps (json/__init__.py:4) 5",
            f"{ours} 2",
            "main (a.py:1);parse (interceptors/chain/messages.py:2) 4",
            f"{ours};Echo (bench/servers/echo.py:4) 1",
            "main (a.py:1);run (uvloop/__init__.py:2) 3",
            "Thread._bootstrap (threading.py:1);worker (export.py:2) 9",
        ]
    )

    assert counts == {"`access_log`": 7, "`chain/messages`": 4, "handler": 1, ENGINE: 3}
