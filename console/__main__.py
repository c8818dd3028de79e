"""Entry point of the console: python -m console."""

import sys
from importlib.util import find_spec

from local.parts import NO_CONSOLE_PACKAGES
from mesh.loading import loading

# python-engineio imports the HTTP libraries of its clients if they are installed. The console has no such client, and
# both together cost 11 MiB. An entry of None means that a module is not installed.
sys.modules.update(dict.fromkeys(("aiohttp", "requests")))  # type: ignore[arg-type]  # None is documented, not typed

if find_spec("nicegui") is None:
    print(NO_CONSOLE_PACKAGES, file=sys.stderr)  # noqa: T201 - there is no log yet
    sys.exit(2)

with loading():
    from console.server import serve_console
    from mesh.serving.program import run

run("console", serve_console, needs_database=False)
