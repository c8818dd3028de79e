"""Password hashes: Argon2id, computed in threads so that the event loop stays responsive."""

from __future__ import annotations

import asyncio
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# OWASP's minimum: 19 MiB, two passes, one lane.
MEMORY_KIB = 19 * 1024
PASSES = 2
LANES = 1

Result = TypeVar("Result")


class Hasher:
    """Hasher with as many threads as the machine has cores. Further hashes wait in the order of their arrival."""

    def __init__(self, threads: ThreadPoolExecutor, argon2: PasswordHasher) -> None:
        self._threads = threads
        self._argon2 = argon2
        self._hash_of_nobody = argon2.hash(secrets.token_hex(16))

    async def hash(self, password: str) -> str:
        """Return a hash of the password, with a new salt, in the PHC string format."""
        return await self._run(partial(self._argon2.hash, password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Return whether the password has this hash; always False without a hash, after the same time."""
        matches = await self._run(partial(self._matches, password_hash or self._hash_of_nobody, password))
        return matches and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Return whether the hash has other parameters than new hashes."""
        return self._argon2.check_needs_rehash(password_hash)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._argon2.verify(password_hash, password)
        except VerifyMismatchError:
            return False

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


@contextmanager
def open_hasher() -> Iterator[Hasher]:
    """Yield a hasher with its threads."""
    argon2 = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="argon2") as threads:
        yield Hasher(threads, argon2)
