"""Reset: what a local mesh keeps in DATA_DIR is erased; refused while a mesh runs there."""

from __future__ import annotations

import shutil
import sys

from mesh.config import SettingsError, load_settings
from mesh.folder_lock import FolderInUse, folder_locked
from mesh.postgres import PostgresError, erase


def main() -> None:
    """Erase DATA_DIR; exit with one sentence where that is not possible."""
    try:
        settings = load_settings()
        data_dir = settings.data_dir
        with folder_locked(data_dir):
            erase(settings.postgres_folder)
            for entry in data_dir.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    except (SettingsError, FolderInUse, PostgresError) as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"DATA_DIR: {error.filename} cannot be removed: {error.strerror}.")


if __name__ == "__main__":
    main()
