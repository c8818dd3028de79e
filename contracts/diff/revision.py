"""Contracts of a buf workspace, in the working tree and at a git revision.

The folder `third_party` of the working tree is part of both versions, because copies of imported contracts are not in
git.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from contracts.image import Image
from contracts.workspace import WorkspaceError, build, sources_of

THIRD_PARTY = "third_party"
LOCK = "buf.lock"


class MissingRevision(WorkspaceError):
    """Git revision that this clone does not have, or that has no contracts."""


def read_versions(workspace: Path, revision: str) -> tuple[Image, Image]:
    """Return the contracts at a git revision, and those in the working tree.

    Raises MissingRevision if the revision is unknown or has no contracts, and WorkspaceError if buf cannot compile one
    of the versions.
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as threads:
        before = threads.submit(_read_in, Path(folder), workspace, revision)
        after = threads.submit(build, workspace)
        return before.result(), Image(after.result(), sources=sources_of(workspace))


def read_revision(workspace: Path, revision: str) -> Image:
    """Return the contracts at a git revision; raise MissingRevision or WorkspaceError as `read_versions` does."""
    with tempfile.TemporaryDirectory() as folder:
        return _read_in(Path(folder), workspace, revision)


def _read_in(folder: Path, workspace: Path, revision: str) -> Image:
    _extract(workspace, revision, folder)
    third_party = workspace / THIRD_PARTY
    if third_party.is_dir():
        shutil.copytree(third_party, folder / THIRD_PARTY, dirs_exist_ok=True)
    try:
        return Image(build(folder))
    except WorkspaceError as error:
        raise WorkspaceError(f"The contracts at {revision} do not compile: {error}") from None


def _extract(workspace: Path, revision: str, folder: Path) -> None:
    """Write the contracts at a revision into a folder, with the paths that they have in the workspace."""
    found = _git(workspace, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if found.returncode:
        reason = found.stderr.decode().strip() or f"{revision}: this clone has no such git revision. Fetch it first."
        raise MissingRevision(reason)
    commit = found.stdout.decode().strip()
    # Without its lock file, a workspace with `deps` does not compile.
    lock = [] if _git(workspace, "cat-file", "-e", f"{commit}:./{LOCK}").returncode else [LOCK]
    archive = _git(workspace, "archive", commit, "buf.yaml", *lock, "*.proto")
    if archive.returncode:
        raise MissingRevision(f"{revision}: this revision has no buf.yaml or no contracts in this folder.")
    try:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(folder, filter="data")
    except tarfile.FilterError as error:  # such as a link out of the folder
        raise WorkspaceError(f"{revision}: the contracts cannot be extracted: {error}.") from None


def _git(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *arguments], cwd=workspace, capture_output=True, check=False)  # noqa: S603, S607 - git on PATH, and no shell
    except FileNotFoundError:
        raise MissingRevision("git is not installed. Install it, or compare two images.") from None
