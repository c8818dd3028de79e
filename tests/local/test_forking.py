"""Fork server: processes that share one import and are ordinary children of the supervisor."""

from __future__ import annotations

import json
import os
import signal
import textwrap
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import psutil
import pytest

from local.child import Child
from local.forking import CannotFork, ForkServer
from local.parts import MESH, unexpected_exit_of_service
from local.process_starter import ProcessStarter
from tests.support.eventually import eventually
from tests.support.log_records import records_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LOADED = "module_of_a_test"
PROGRAM = "program_of_a_test"


@asynccontextmanager
async def server_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch, program: str, loaded: str = ""
) -> AsyncIterator[ForkServer]:
    """Run a fork server that has loaded one module, and can run a program that imports the module."""
    (folder / f"{LOADED}.py").write_text(textwrap.dedent(loaded) + "\ndef preload(): ...\n")
    (folder / f"{PROGRAM}.py").write_text(textwrap.dedent(program))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    with ForkServer(f"{LOADED}:preload") as server:
        await server.wait_until_ready()
        yield server


def forked(server: ForkServer, folder: Path, *arguments: str, **environment: str) -> Child:
    """Fork a process that runs the program."""
    return Child("forked", environment, folder / "forked.jsonl", [PROGRAM, *arguments], server.fork)


def servers_but(pid: int) -> list[psutil.Process]:
    """Return all fork servers of this process, without a forked process that may still have their command line."""
    children = [each for each in psutil.Process().children() if each.pid != pid]
    return [each for each in children if "local.fork_server" in each.cmdline()]


def event_of(child: Child) -> str:
    """Return the first line of a child's log."""
    return str(records_of(child.log)[0]["event"])


async def test_a_forked_process_is_like_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked process has its own arguments, environment, session, standard streams, log and command line."""
    program = f"""
        import json, os, sys, {LOADED}
        facts = dict(name=__name__, loaded_by={LOADED}.PID, arguments=sys.argv[1:], session=os.getsid(0))
        facts |= dict(environment=dict(os.environ), url=sys.stdin.readline())
        facts |= dict(open=[os.path.realpath(file) for file in os.scandir("/proc/self/fd")])
        os.write(int(os.environ["LOG_FD"]), json.dumps(dict(event=json.dumps(facts))).encode() + b"\\n")
        print("printed")
        sys.stdin.read()
    """
    async with server_with(tmp_path, monkeypatch, program, "import os; PID = os.getpid()") as server:
        child = forked(server, tmp_path, "one", "two", SETTING="its own")
    child.send_line("postgresql://its-own")
    await eventually(lambda: len(records_of(child.log)) == 2)

    facts = json.loads(event_of(child))
    process = psutil.Process(child.pid)
    assert (facts["name"], facts["arguments"], facts["url"]) == ("__main__", ["one", "two"], "postgresql://its-own\n")
    assert facts["environment"].items() >= {"SETTING": "its own"}.items()
    assert facts["environment"].keys() <= {"SETTING", "LOG_FD", "LC_CTYPE"}
    assert facts["session"] == child.pid
    assert facts["loaded_by"] not in (child.pid, os.getpid())
    assert process.cmdline()[1:] == ["-m", PROGRAM, "one", "two"]
    assert process.ppid() == os.getpid()
    assert "socket:" not in str(facts["open"])
    assert str(facts["open"]).count("pipe:") == len(("input", "output", "errors"))
    child.kill()
    assert await child.wait() == -signal.SIGKILL
    assert records_of(child.log)[1]["event"] == "printed"


@pytest.mark.parametrize(
    ("program", "code", "reason", "last_output"),
    [
        ("raise SystemExit(3)", 3, "exited with code 3", "it wrote nothing"),
        ("raise ValueError('no start')", 1, "exited with code 1", "ValueError: no start"),
        ("import os; os.kill(os.getpid(), 9)", -9, "was killed by signal 9", "it wrote nothing"),
        ("import atexit; atexit.register(print, 'at exit')", 0, "exited with code 0", "at exit"),
    ],
)
async def test_the_end_of_a_forked_process_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, code: int, reason: str, last_output: str
) -> None:
    """The exit code and the last output of a forked process are those that it would have in its own interpreter."""
    async with server_with(tmp_path, monkeypatch, program) as server:
        child = forked(server, tmp_path)

        assert await child.wait() == code

    ended = unexpected_exit_of_service(child)
    assert ended is not None
    assert ended.reason == reason
    assert child.last_output() == last_output


async def test_a_killed_server_does_not_harm_its_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the fork server is killed, its processes run on, and the next fork fails with one sentence."""
    async with server_with(tmp_path, monkeypatch, "import sys; sys.stdin.read()") as server:
        child = forked(server, tmp_path)
        (of_server,) = servers_but(child.pid)
        of_server.kill()
        of_server.wait()

        with pytest.raises(CannotFork, match="the fork server failed: it wrote nothing"):
            forked(server, tmp_path)
        assert child.exit_code is None

    child.terminate()
    assert await child.wait() == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_process_is_known_although_its_server_ends_during_the_fork(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """If the fork server is killed or stopped right after it has forked, the new process is still a known child."""
    loaded = f"import os; SERVER = os.getpid(); os.register_at_fork(after_in_child=lambda: os.kill(SERVER, {number}))"
    async with server_with(tmp_path, monkeypatch, "import sys; sys.stdin.read()", loaded) as server:
        child = forked(server, tmp_path)

    assert psutil.Process(child.pid).ppid() == os.getpid()
    assert child.exit_code is None
    child.terminate()
    assert await child.wait() == -signal.SIGTERM


async def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork server that is stopped before a request fails after a limited time, and forks no process later."""
    monkeypatch.setattr("local.forking.FORK_TIMEOUT_S", 0.1)
    async with server_with(tmp_path, monkeypatch, "import sys; sys.stdin.read()") as server:
        (of_server,) = servers_but(0)
        of_server.suspend()

        with pytest.raises(CannotFork, match="the fork server failed"):
            forked(server, tmp_path)

    assert not servers_but(0)


async def test_processes_start_without_a_killed_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the fork server is killed while a mesh starts, the next process gets an interpreter, and that is reported."""
    reports: list[tuple[str, str]] = []
    async with server_with(tmp_path, monkeypatch, "import sys; sys.stdin.read()") as server:
        starter = ProcessStarter(lambda *report: reports.append(report), server)
        starter._server = server
        starter.lock = os.open(tmp_path, os.O_RDONLY)
        (of_server,) = servers_but(0)
        of_server.kill()
        child = Child("spawned", os.environ, tmp_path / "spawned.jsonl", [PROGRAM], starter)
        os.close(starter.lock)

    sentence = "starts an interpreter for each process, because the fork server failed: it wrote nothing."
    assert reports == [(MESH, sentence)]
    # The kernel sets the command line of an interpreter a moment after `subprocess` reports its start.
    await eventually(lambda: psutil.Process(child.pid).cmdline()[1:] == ["-m", PROGRAM])
    child.terminate()
    assert await child.wait() == -signal.SIGTERM


async def test_forked_processes_hold_inherited_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked process holds a descriptor of the supervisor, such as the lock of the services, until it ends."""
    reader, writer = os.pipe()
    async with server_with(tmp_path, monkeypatch, "import sys; sys.stdin.read()") as server:
        start = partial(server.fork, inherited=[writer])
        child = Child("forked", {}, tmp_path / "forked.jsonl", [PROGRAM], start)
    os.close(writer)

    os.set_blocking(reader, False)
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    child.terminate()
    await child.wait()
    assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.mark.parametrize(
    ("loaded", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        (
            "import threading, time; threading.Thread(target=time.sleep, args=[60], daemon=True).start()",
            "starts a thread",
        ),
    ],
)
async def test_modules_that_cannot_be_shared_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: str, reason: str
) -> None:
    """A module that fails, or that starts a thread, stops the fork server with the reason."""
    with pytest.raises(CannotFork, match=reason):
        async with server_with(tmp_path, monkeypatch, "", loaded):
            pass

    assert not servers_but(0)


async def test_forked_processes_create_different_correlation_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes of one fork server do not create the same correlation ids."""
    program = "from interceptors.context import new_correlation_id; print(new_correlation_id())"
    async with server_with(tmp_path, monkeypatch, program, "import interceptors.context") as server:
        ids = set()
        for name in ("one", "two"):
            child = Child(name, {}, tmp_path / f"{name}.jsonl", [PROGRAM], server.fork)
            await child.wait()
            ids.add(event_of(child))

    assert len(ids) == len(("one", "two"))
