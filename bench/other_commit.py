"""Another commit of this repository: its sources in a worktree under build/, and the Python that runs them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.workspace import FOLDER
from mesh.config import child_environment

WORKTREES = Path("build/base")
LOCK = Path("requirements/bench.txt")
PYTHON = Path(".venv-bench/bin/python")
READY = ".venv-bench/.ready"
PROGRAMS = (Path("bench/servers/ours.py"), Path("bench/client.py"), LOCK)


class UnusableCommit(Exception):
    """Error with the reason why a commit cannot be compared, and what to do."""


@dataclass(frozen=True, slots=True)
class OtherCommit:
    """Checked-out commit `sha`: its `folder`, and the `python` with its packages."""

    sha: str
    folder: Path
    python: Path


def check_out(base: str) -> OtherCommit:
    """Make the commit called `base` ready to run; raise UnusableCommit if that is impossible.

    Its programs share our folder of keys, requests and counters, and our packages unless its lock differs.
    """
    sha = sha_of(base)
    folder = (WORKTREES / sha).absolute()
    if not folder.exists():
        _remove_worktrees()
        _git("worktree", "add", "--quiet", "--force", "--detach", str(folder), sha)
    for program in PROGRAMS:
        if not (folder / program).exists():
            raise UnusableCommit(f"BASE: {base} has no {program}, so it cannot be compared. Name a later commit.")
    _share_folder(folder)
    return OtherCommit(sha, folder, _python_of(base, folder))


def sha_of(base: str) -> str:
    """Return the hash of the commit called `base`; raise UnusableCommit if there is none."""
    found = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}"],  # noqa: S607 - git on PATH
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode != 0:
        raise UnusableCommit(f"BASE: {base!r} is no commit here. Name a branch, a tag or a hash, such as BASE=main.")
    return found.stdout.strip()


def _remove_worktrees() -> None:
    for folder in WORKTREES.glob("*"):
        _git("worktree", "remove", "--force", str(folder))
    _git("worktree", "prune")


def _share_folder(folder: Path) -> None:
    link = folder / FOLDER
    link.parent.mkdir(exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(FOLDER.absolute(), target_is_directory=True)


def _python_of(base: str, folder: Path) -> Path:
    """Return our Python if the packages of both commits are the same, or else that of the commit's own environment."""
    if (folder / LOCK).read_bytes() == LOCK.read_bytes():
        return Path(sys.executable)
    # The variables of our own make would select our packages and our targets.
    environment = child_environment(makeflags="", mflags="", base="", pythonpath="", virtual_env="")
    command = ["make", "--directory", str(folder), READY]
    done = subprocess.run(command, env=environment, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise UnusableCommit(f"BASE: the packages of {base} cannot be installed. `make -C {folder} {READY}` shows why.")
    return folder / PYTHON


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True)  # noqa: S607 - git on PATH
