"""Guardian of the embedded PostgreSQL: runs the server only while the guardian's standard input is open.

The owner starts this file as a script with a pipe as standard input. The script is isolated (`python -I -S`), so it can
import only the standard library. The guardian prints one line, `ready PORT` or the reason for a failure. When the pipe
closes, or at SIGTERM, the guardian stops the server (fast shutdown) and exits. The pipe also closes when the owner is
killed. SIGINT is ignored: Ctrl-C reaches the whole process group, and the owner may still need the database to drain.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import fcntl
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

LOCK_TIMEOUT_S = 30.0
RESTART_TIMEOUT_S = 10.0
# Longest delay until the end of the server is noticed.
WATCH_INTERVAL_S = 0.2
STOP_STEPS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
PR_SET_PDEATHSIG = 1
# Temporary errors: remains of a server that was just killed, and a port that another process has just taken.
TRANSIENT_ERRORS = ("pre-existing shared memory block", "could not create any TCP/IP sockets")

SETTINGS = {
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Otherwise the DETAIL of a violated constraint would put the row into the log.
    "log_error_verbosity": "terse",
}
# The owner's environment must not affect the server (PGDATA, PGPORT, LC_*).
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class StartError(Exception):
    """Failure of a server that did not start or ended unexpectedly; the message is one sentence for the owner."""


class StopRequested(Exception):
    """Request to stop: the owner closed its end of the pipe, or SIGTERM arrived."""


@dataclasses.dataclass(frozen=True, slots=True)
class ServerSpec:
    """Server to run: `folder` holds the cluster, its log and the owner's lock; port 0 selects a free port."""

    binaries: Path
    folder: Path
    port: int
    durable: bool

    @property
    def cluster(self) -> Path:
        """The data directory of PostgreSQL."""
        return self.folder / "cluster"

    @property
    def log(self) -> Path:
        """The log of the current run."""
        return self.folder / "server.log"


def wait(timeout_s: float) -> None:
    """Wait for `timeout_s` seconds; raise StopRequested if the owner closes the pipe meanwhile."""
    readable, _, _ = select.select([0], [], [], timeout_s)
    if readable and not os.read(0, 1):
        raise StopRequested


def is_alive(pid: int) -> bool:
    """Return whether a process with this id exists, under any account."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def hold_lock(folder: Path) -> IO[str]:
    """Lock the folder; raise StartError if a living process holds the lock, wait up to 30 s if the holder is dead."""
    lock = (folder / "owner.lock").open("a+")
    give_up_at = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip()
            if (holder and is_alive(int(holder))) or time.monotonic() > give_up_at:
                raise StartError(
                    f"process {holder} already runs PostgreSQL in {folder}: stop that process first"
                ) from None
            wait(0.05)
        else:
            lock.truncate(0)
            lock.write(str(os.getppid()))
            lock.flush()
            return lock


def stop_orphan(spec: ServerSpec) -> None:
    """Stop a server that outlived its killed guardian, and remove a pid file that names an unrelated process."""
    record = spec.cluster / "postmaster.pid"
    try:
        pid = int(record.read_text().partition("\n")[0])
    except (FileNotFoundError, ValueError):
        return
    if not is_alive(pid):
        return
    if Path("/proc/self").exists():
        try:
            is_ours = Path(f"/proc/{pid}/cwd").readlink() == spec.cluster
        except OSError:
            is_ours = False
        if not is_ours:
            record.unlink()
            return
    run([spec.binaries / "pg_ctl", "stop", "-D", spec.cluster, "-m", "fast", "-w"])


def run(command: list[str | Path]) -> None:
    """Run one of PostgreSQL's tools; raise StartError with the last line of its output if it fails."""
    done = subprocess.run(  # noqa: S603 - our own command on our own binaries
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=ENVIRONMENT,
    )
    if done.returncode:
        raise StartError(last_output(done.stdout.decode(errors="replace")))


def initialise(spec: ServerSpec) -> None:
    """Create an empty cluster atomically; remains of an interrupted attempt are removed first."""
    attempt = spec.folder / "cluster.new"
    shutil.rmtree(attempt, ignore_errors=True)
    options = [
        "--auth=trust",
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-locale",
    ]
    settings = ["-c", "max_connections=200", "-c", "shared_buffers=64MB"]
    syncing = [] if spec.durable else ["--no-sync"]
    run([spec.binaries / "initdb", "-D", attempt, "-U", "postgres", "--no-instructions", *options, *settings, *syncing])
    attempt.rename(spec.cluster)


def bindable_port(port: int) -> int:
    """Return the wanted port on 127.0.0.1, or a free one for 0; raise StartError if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StartError(f"port {port} on 127.0.0.1 cannot be used: {error.strerror}") from None
        return int(probe.getsockname()[1])


def launch(spec: ServerSpec, port: int) -> subprocess.Popen[bytes]:
    """Start the server process, without waiting until it is ready."""
    settings = SETTINGS | ({} if spec.durable else NOT_DURABLE) | {"port": str(port)}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with spec.log.open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own command on our own binaries
            [spec.binaries / "postgres", "-D", spec.cluster, *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
            preexec_fn=die_with_guardian,  # noqa: PLW1509 - this process has one thread
        )


def die_with_guardian() -> None:
    """Ask the Linux kernel to stop the server when the guardian ends, even if the guardian is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def is_ready(spec: ServerSpec, server: subprocess.Popen[bytes]) -> bool:
    """Return whether the server's pid file says that it accepts connections; pg_ctl checks the same."""
    try:
        lines = (spec.cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[0] == str(server.pid) and lines[7].strip() == "ready"  # noqa: PLR2004 - format of the pid file


def serve_once(spec: ServerSpec) -> str:
    """Serve until StopRequested; return the reason from the log if the server never became ready."""
    port = bindable_port(spec.port)
    server = launch(spec, port)
    try:
        while not is_ready(spec, server):
            if server.poll() is not None:
                return last_output(spec.log.read_text(errors="replace"))
            wait(0.01)
        print(f"ready {port}", flush=True)  # noqa: T201 - the answer to the owner
        while server.poll() is None:
            wait(WATCH_INTERVAL_S)
        raise StartError(describe_exit(server.returncode, spec.log.read_text(errors="replace")))
    finally:
        stop(server)


def describe_exit(exit_code: int, log: str) -> str:
    """Return a predicate for the unexpected end of a server."""
    if exit_code < 0:
        return f"was killed by signal {-exit_code}"
    return f"exited: {last_output(log)}"


def serve(spec: ServerSpec) -> None:
    """Serve until StopRequested; raise StartError if the server does not start or ends unexpectedly."""
    give_up_at = time.monotonic() + RESTART_TIMEOUT_S
    while True:
        reason = serve_once(spec)
        if time.monotonic() > give_up_at or not any(text in reason for text in TRANSIENT_ERRORS):
            raise StartError(reason)
        wait(0.1)


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop the server: first cleanly with a checkpoint, then by force, with crash recovery at the next start."""
    if server.poll() is None:
        resume(server.pid)
    for step, timeout_s in STOP_STEPS:
        if server.poll() is None:
            server.send_signal(step)
            with contextlib.suppress(subprocess.TimeoutExpired):  # the next step stops the server
                server.wait(timeout_s)


def resume(pid: int) -> None:
    """Resume a suspended server and its children, because a suspended process reacts to no signal but SIGKILL."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # not Linux
        children = []
    for each in (pid, *map(int, children)):
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.kill(each, signal.SIGCONT)


def last_output(log: str) -> str:
    """Return the line of a log that gives the reason for the end."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    # initdb prints "error:" and then reports its cleanup, so its last line is not the reason.
    fatal = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", " error: "))]
    return (fatal or lines or ["it wrote no log"])[-1]


def on_sigterm(*_: object) -> None:
    """Handle SIGTERM: raise StopRequested once, and ignore repeated signals."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise StopRequested


def main() -> int:
    """Serve as the command line specifies; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--not-durable", action="store_true", help="write faster, but lose data in a power cut; for tests"
    )
    parser.add_argument("--user", help="UID:GID to switch to when started by root")
    wanted = parser.parse_args()
    # A handler, not SIG_IGN: child processes would inherit an ignored signal.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, on_sigterm)
    spec = ServerSpec(wanted.binaries, wanted.folder, wanted.port, not wanted.not_durable)
    try:
        if wanted.user:
            drop_privileges(*map(int, wanted.user.split(":")))
        os.chdir(spec.folder)
        with hold_lock(spec.folder):
            stop_orphan(spec)
            if not spec.cluster.exists():
                initialise(spec)
            serve(spec)
    except StopRequested:
        return 0
    except (StartError, OSError) as error:
        with contextlib.suppress(BrokenPipeError):  # the owner has ended
            print(error, flush=True)  # noqa: T201 - the answer to the owner
    return 1


def drop_privileges(uid: int, gid: int) -> None:
    """Drop root for good, because PostgreSQL refuses to run as root and no file may be accessed with its rights."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


if __name__ == "__main__":
    sys.exit(main())
