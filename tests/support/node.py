"""Node.js for tests: its packages, pinned in tests/foreign, installed once into a cache folder of the repository.

A test that needs Node is skipped, with the reason, where Node or npm is missing or no registry of packages can be
reached. Any other failure of the installation fails the test.
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
# What npm says where there is no network.
_UNREACHABLE = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ENOTCACHED")


def require_node() -> None:
    """Skip the test where there is no Node that is new enough, or no npm."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        pytest.skip("Node.js and npm are needed, and not on this machine's PATH")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"Node.js {OLDEST_NODE} or newer is needed, and this is {version}")


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """Return a folder in whose `node_modules` the pinned packages are: programs run there find them."""
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
        pytest.skip(f"npm cannot reach a registry of packages ({unreachable.group()})")
    assert done.returncode == 0, done.stderr
