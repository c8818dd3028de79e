from __future__ import annotations

import base64

from pydantic import SecretStr

from mesh.webhooks.secrets import processor_keys, standard_keys


def secret_of(size: int) -> str:
    """Return a Standard Webhooks secret with a key of `size` bytes."""
    return "whsec_" + base64.b64encode(b"k" * size).decode()


def test_several_secrets_give_several_keys() -> None:
    """Several secrets give several keys in the same order, so that secrets can be rotated."""
    secrets = SecretStr(f"{secret_of(24)}, {secret_of(64)}")

    assert standard_keys(secrets) == (b"k" * 24, b"k" * 64)
    assert processor_keys(SecretStr("whsec_" + "a" * 32)) == (b"whsec_" + b"a" * 32,)


def test_no_secret_gives_no_key() -> None:
    """Without a secret there is no key, so that no webhook is accepted."""
    assert standard_keys(None) == processor_keys(None) == ()
