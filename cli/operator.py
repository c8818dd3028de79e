"""The operator: who the command line is to the services, and the key it shows them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from cli.screen import remarks
from mesh.channel import Channels
from mesh.config import SettingsError, load_settings
from mesh.keyring import own_key
from mesh.local_keys import OPERATOR
from mesh.telemetry import set_up_tracing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.config import Settings

TRACED_AS = "solo60"
# A person waits for the end of a command; a collector that is gone must not keep them.
EXIT_PATIENCE_S = 0.8


def operator_settings(caller: str | None = None) -> Settings:
    """Return this process's settings, with a key to call with and a place for its spans.

    Without SERVICE_API_KEY and SERVICE_API_KEY_FILE it is the operator's key in DATA_DIR/keys; with `caller`, it is
    always that caller's. Raises SettingsError where there is none.
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
                f"SERVICE_API_KEY: not set, and there is no file {path}; `solo60 up` makes it, or `solo60 keys issue`."
            )
        changes |= {"service_api_key": None, "service_api_key_file": path}
    return settings.model_copy(update=changes)


@asynccontextmanager
async def operator_channels(settings: Settings) -> AsyncIterator[Channels]:
    """Yield channels to every service, with the key in `settings`; calls made over them are traced.

    Where traces cannot be kept, one line says so at the end.
    """
    tracers = set_up_tracing(settings, TRACED_AS, EXIT_PATIENCE_S)
    channels = Channels(settings, own_key(settings))
    try:
        yield channels
    finally:
        await channels.close()
        await asyncio.to_thread(tracers.shutdown)
        for exporter in tracers.exporters:
            if exporter.trouble_at_exit:
                remarks.print(exporter.trouble_at_exit, style="yellow", markup=False)
