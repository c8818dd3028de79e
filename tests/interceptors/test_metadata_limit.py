from __future__ import annotations

import pytest

from interceptors.metadata_limit import BYTES_OF_A_FIELD, ServerMetadataLimit
from tests.support.asking import ask


@pytest.mark.parametrize(
    ("metadata", "outcome"),
    [
        ({"x-one": "a" * 3_000}, "hi"),
        ({"x-one": "a" * 4_000}, "MESSAGE_TOO_LARGE"),
        ({f"x-{number}": "" for number in range(4_000 // BYTES_OF_A_FIELD)}, "MESSAGE_TOO_LARGE"),
    ],
    ids=["small", "one large", "many small"],
)
def test_metadata_is_counted_as_http2_counts_it(metadata: dict[str, str], outcome: str) -> None:
    """Many small fields are as much as one large."""
    assert ask(ServerMetadataLimit(largest_bytes=4_000), metadata=metadata) == outcome
