"""Command that removes the data of a local mesh in DATA_DIR; refused while a mesh runs there."""

from __future__ import annotations

import asyncio
import shutil
import sys
from typing import TYPE_CHECKING

from local.folder_lock import lock_folder
from local.orphans import without_orphans
from local.postgres.server import remove_data
from mesh.config import load_settings
from mesh.failure import Failure

if TYPE_CHECKING:
    from mesh.config import Settings

# Longest time that the services of a killed mesh take to drain.
ORPHANS_TIMEOUT_S = 15.0


def main() -> None:
    """Empty DATA_DIR; exit with one sentence if that fails."""
    try:
        asyncio.run(_reset(load_settings()))
    except Failure as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"DATA_DIR: {error.filename} cannot be removed: {error.strerror}.")


async def _reset(settings: Settings) -> None:
    with lock_folder(settings.data_dir):
        async with without_orphans(settings.data_dir, ORPHANS_TIMEOUT_S):
            await asyncio.to_thread(_remove_all, settings)


def _remove_all(settings: Settings) -> None:
    remove_data(settings.postgres_folder)
    for entry in settings.data_dir.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


if __name__ == "__main__":
    main()
