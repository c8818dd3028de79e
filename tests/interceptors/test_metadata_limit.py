from __future__ import annotations

import pytest

from contracts.metadata import FIELD_OVERHEAD_BYTES
from interceptors.metadata_limit import ServerMetadataLimit
from tests.support.echo_call import call_echo


@pytest.mark.parametrize(
    ("metadata", "outcome"),
    [
        ({"x-one": "a" * 3_000}, "hi"),
        ({"x-one": "a" * 4_000}, "MESSAGE_TOO_LARGE"),
        ({f"x-{number}": "" for number in range(4_000 // FIELD_OVERHEAD_BYTES)}, "MESSAGE_TOO_LARGE"),
    ],
    ids=["small", "one large", "many small"],
)
def test_metadata_is_measured_as_in_http2(metadata: dict[str, str], outcome: str) -> None:
    """Metadata above the limit is rejected.

    Its size includes a fixed number of bytes per field, so many small fields count too.
    """
    assert call_echo(ServerMetadataLimit(max_bytes=4_000), metadata=metadata) == outcome
