"""The guardian of the embedded PostgreSQL: the server runs while the guardian's standard input is open, and no longer.

The owner starts this file as a script, isolated (`python -I -S`), with a pipe as its standard input. It therefore
imports nothing but the standard library. It answers one line, `ready PORT` or a sentence that says why not, and then
waits. When the pipe closes, which also happens when the owner is killed, or at SIGTERM, it stops the server (fast
shutdown) and ends. SIGINT is not for it: Ctrl-C reaches a whole process group, and the owner may still need its
database to drain.
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

LOCK_PATIENCE_S = 30.0
RESTART_PATIENCE_S = 10.0
# How long the end of the server may go unnoticed.
WATCH_INTERVAL_S = 0.2
STOP_STEPS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
PR_SET_PDEATHSIG = 1
# What a server killed a moment ago leaves behind for an instant, and a port that someone else was faster to take.
PASSING_TROUBLE = ("pre-existing shared memory block", "could not create any TCP/IP sockets")

SETTINGS = {
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Otherwise the DETAIL of a violated constraint shows the row.
    "log_error_verbosity": "terse",
}
# Nothing of the owner's environment may steer the server (PGDATA, PGPORT, LC_*).
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
CARELESS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class StartError(Exception):
    """Why there is no server, in a sentence for the owner."""


class OwnerLeft(Exception):
    """The owner closed its end of the pipe, or sent SIGTERM."""


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """What the owner wants served: `folder` holds the cluster, its log and the lock; port 0 takes a free one."""

    binaries: Path
    folder: Path
    port: int
    durable: bool

    @property
    def cluster(self) -> Path:
        """The data directory in PostgreSQL's sense."""
        return self.folder / "cluster"

    @property
    def log(self) -> Path:
        """The log of the current run."""
        return self.folder / "server.log"


def attend(patience_s: float) -> None:
    """Wait that long, unless the owner leaves: then raise OwnerLeft."""
    readable, _, _ = select.select([0], [], [], patience_s)
    if readable and not os.read(0, 1):
        raise OwnerLeft


def is_alive(pid: int) -> bool:
    """Whether such a process exists, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def hold_lock(folder: Path) -> IO[str]:
    """Take the folder for this owner; raise StartError when a living process has it, wait when a dead one does."""
    lock = (folder / "owner.lock").open("a+")
    give_up_at = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip()
            if (holder and is_alive(int(holder))) or time.monotonic() > give_up_at:
                raise StartError(f"process {holder} already runs it, stop that first") from None
            attend(0.05)
        else:
            lock.truncate(0)
            lock.write(str(os.getppid()))
            lock.flush()
            return lock


def stop_orphan(order: Order) -> None:
    """Stop a server that outlived a killed guardian, and forget a process id that by now means something else."""
    record = order.cluster / "postmaster.pid"
    try:
        pid = int(record.read_text().partition("\n")[0])
    except (FileNotFoundError, ValueError):
        return
    if not is_alive(pid):
        return
    if Path("/proc/self").exists():
        try:
            is_ours = Path(f"/proc/{pid}/cwd").readlink() == order.cluster
        except OSError:
            is_ours = False
        if not is_ours:
            record.unlink()
            return
    run([order.binaries / "pg_ctl", "stop", "-D", order.cluster, "-m", "fast", "-w"])


def run(command: list[str | Path]) -> None:
    """Run one of PostgreSQL's tools; raise StartError with the last line it wrote."""
    done = subprocess.run(  # noqa: S603  (our own command on our own binaries)
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=ENVIRONMENT,
    )
    if done.returncode:
        raise StartError(last_words(done.stdout.decode(errors="replace")))


def initialise(order: Order) -> None:
    """Make an empty cluster, whole or not at all: an interrupted attempt is thrown away by the next one."""
    attempt = order.folder / "cluster.new"
    shutil.rmtree(attempt, ignore_errors=True)
    options = [
        "--auth=trust",
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-locale",
    ]
    settings = ["-c", "max_connections=200", "-c", "shared_buffers=64MB"]
    syncing = [] if order.durable else ["--no-sync"]
    run(
        [order.binaries / "initdb", "-D", attempt, "-U", "postgres", "--no-instructions", *options, *settings, *syncing]
    )
    attempt.rename(order.cluster)


def bindable_port(port: int) -> int:
    """Find the wanted port on 127.0.0.1, or a free one for 0; raise StartError when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StartError(f"port {port} on 127.0.0.1 cannot be used: {error.strerror}") from None
        return int(probe.getsockname()[1])


def launch(order: Order, port: int) -> subprocess.Popen[bytes]:
    """Start the server process; it is not ready yet."""
    settings = SETTINGS | ({} if order.durable else CARELESS) | {"port": str(port)}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with order.log.open("wb") as log:
        return subprocess.Popen(  # noqa: S603  (our own command on our own binaries)
            [order.binaries / "postgres", "-D", order.cluster, *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
            preexec_fn=die_with_guardian,  # noqa: PLW1509  (this process has one thread)
        )


def die_with_guardian() -> None:
    """Asks the Linux kernel to stop the server even when the guardian itself is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def is_ready(order: Order, server: subprocess.Popen[bytes]) -> bool:
    """Whether the server says in its pid file that it accepts connections, as pg_ctl reads it."""
    try:
        lines = (order.cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[0] == str(server.pid) and lines[7].strip() == "ready"  # noqa: PLR2004  (its format)


def serve_once(order: Order) -> str:
    """Serve until the owner leaves (OwnerLeft); return the server's last words when it never became ready."""
    port = bindable_port(order.port)
    server = launch(order, port)
    try:
        while not is_ready(order, server):
            if server.poll() is not None:
                return last_words(order.log.read_text(errors="replace"))
            attend(0.01)
        print(f"ready {port}", flush=True)  # noqa: T201  (the answer to the owner)
        while server.poll() is None:
            attend(WATCH_INTERVAL_S)
        raise StartError(how_it_ended(server.returncode, order.log.read_text(errors="replace")))
    finally:
        stop(server)


def how_it_ended(exit_code: int, log: str) -> str:
    """Say how a server ended that nobody stopped."""
    if exit_code < 0:
        return f"was killed by signal {-exit_code}"
    return f"ended by itself: {last_words(log)}"


def serve(order: Order) -> None:
    """Serve until the owner leaves; raise StartError when the server does not start or ends by itself."""
    give_up_at = time.monotonic() + RESTART_PATIENCE_S
    while True:
        reason = serve_once(order)
        if time.monotonic() > give_up_at or not any(trouble in reason for trouble in PASSING_TROUBLE):
            raise StartError(reason)
        attend(0.1)


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server: politely with a checkpoint first, then by crash recovery at the next start."""
    if server.poll() is None:
        wake(server.pid)
    for step, patience_s in STOP_STEPS:
        if server.poll() is None:
            server.send_signal(step)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(patience_s)


def wake(pid: int) -> None:
    """Let a suspended server and its children go on: a suspended process ends at no signal but SIGKILL."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # not Linux
        children = []
    for each in (pid, *map(int, children)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGCONT)


def last_words(log: str) -> str:
    """Find the line of a log that says why it ends."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    # initdb says "error:", and afterwards that it cleans up.
    fatal = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", " error: "))]
    return (fatal or lines or ["it wrote no log"])[-1]


def leave(*_: object) -> None:
    """SIGTERM: leaves once, in order."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise OwnerLeft


def main() -> int:
    """Serve what the command line orders; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--careless", action="store_true", help="lose data in a power cut, for tests")
    parser.add_argument("--user", help="UID:GID to become, where root starts it")
    wanted = parser.parse_args()
    # A handler, not SIG_IGN: what is ignored stays ignored in the children.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, leave)
    order = Order(wanted.binaries, wanted.folder, wanted.port, not wanted.careless)
    try:
        if wanted.user:
            become(*map(int, wanted.user.split(":")))
        os.chdir(order.folder)
        with hold_lock(order.folder):
            stop_orphan(order)
            if not order.cluster.exists():
                initialise(order)
            serve(order)
    except OwnerLeft:
        return 0
    except (StartError, OSError) as error:
        with contextlib.suppress(BrokenPipeError):
            print(error, flush=True)  # noqa: T201  (the answer to the owner)
    return 1


def become(uid: int, gid: int) -> None:
    """Give up root for good: PostgreSQL refuses to run as root, and no file is touched with its rights."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


if __name__ == "__main__":
    sys.exit(main())
