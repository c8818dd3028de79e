"""Keys of webhook secrets. Several secrets can be valid at once, so that rotation rejects no webhook.

`mesh.config` has checked the form of each secret.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from mesh.setting_types import WEBHOOK_PREFIX, secrets_in

if TYPE_CHECKING:
    from pydantic import SecretStr


def standard_keys(secrets: SecretStr | None) -> tuple[bytes, ...]:
    """Return the keys of Standard Webhooks secrets, "whsec_<base64>", separated by commas."""
    return tuple(base64.b64decode(secret.removeprefix(WEBHOOK_PREFIX)) for secret in secrets_in(secrets))


def processor_keys(secrets: SecretStr | None) -> tuple[bytes, ...]:
    """Return the card processor's secrets, separated by commas, as keys, which are their bytes."""
    return tuple(secret.encode() for secret in secrets_in(secrets))
