"""Node.js packages for tests, pinned in tests/foreign and installed once into a cache folder of the repository.

A test is skipped if Node.js or npm is missing or npm cannot reach its registry. Any other failure of the installation
fails the test.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINNED = (ROOT / "tests/foreign/package.json", ROOT / "tests/foreign/package-lock.json")
OLDEST_NODE = 20
# npm's error codes without a network.
_UNREACHABLE = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ENOTCACHED")


def require_node() -> None:
    """Skip the test if npm or a new enough Node.js is missing."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        pytest.skip("Node.js and npm are not on PATH")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"Node.js {OLDEST_NODE} or newer is needed, but PATH has {version}")


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """Return a folder with the pinned packages in `node_modules`, as a working directory for programs."""
    require_node()
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in PINNED)).hexdigest()
    folder = ROOT / ".node_cache" / digest[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".ready").exists():
            _install(folder)
            (folder / ".ready").touch()
    return folder


def _install(folder: Path) -> None:
    for path in PINNED:
        shutil.copy(path, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    unreachable = _UNREACHABLE.search(done.stderr) if done.returncode else None
    if unreachable:
        pytest.skip(f"npm cannot reach its registry ({unreachable.group()})")
    assert done.returncode == 0, done.stderr
