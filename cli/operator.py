"""Operator: the caller name and the API key of the command line in calls to the services."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from cli.terminal import err
from local.keys import OPERATOR
from mesh.config import SettingsError, load_settings
from mesh.serving.channel import Channels
from mesh.serving.keyring_file import own_key
from mesh.telemetry.setup import set_up_tracing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.config import Settings

TRACE_SERVICE_NAME = "solo60"
# Limits the wait for an unreachable collector, because a person waits for the command to end.
EXIT_TIMEOUT_S = 0.8


def operator_settings(caller: str | None = None) -> Settings:
    """Return this process's settings, with an API key for its calls and a folder for its spans.

    The key is that of `caller` in DATA_DIR/keys if given. Otherwise it is SERVICE_API_KEY or SERVICE_API_KEY_FILE, or
    the operator's key in DATA_DIR/keys if neither is set. Raises SettingsError if the key file does not exist.
    """
    settings = load_settings()
    changes: dict[str, object] = {
        "trace_sample_ratio": 1.0,
        "span_dir": settings.local_span_dir,
    }
    if caller is not None or (settings.service_api_key is None and settings.service_api_key_file is None):
        path = settings.key_path_of(caller or OPERATOR)
        if not path.exists():
            raise SettingsError(
                f"SERVICE_API_KEY: not set, and there is no file {path}. Run `solo60 up`, which creates the file, "
                "or set the key that `solo60 keys issue` prints."
            )
        changes |= {"service_api_key": None, "service_api_key_file": path}
    return settings.model_copy(update=changes)


@asynccontextmanager
async def operator_channels(settings: Settings) -> AsyncIterator[Channels]:
    """Yield channels to every service, with the key in `settings`. Calls over them are traced.

    Prints one line at the end of the context if the traces cannot be stored or exported.
    """
    tracers = set_up_tracing(settings, TRACE_SERVICE_NAME, EXIT_TIMEOUT_S)
    channels = Channels(settings, own_key(settings))
    try:
        yield channels
    finally:
        await channels.close()
        await asyncio.to_thread(tracers.shutdown)
        for exporter in tracers.exporters:
            if exporter.trouble_at_exit:
                err.print(exporter.trouble_at_exit, style="yellow", markup=False)
