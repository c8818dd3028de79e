from __future__ import annotations

import base64

import pytest
from pydantic import SecretStr

from mesh.webhook_secrets import processor_keys, standard_keys


def secret_of(size: int) -> str:
    """Return a secret of Standard Webhooks with a key of `size` bytes."""
    return "whsec_" + base64.b64encode(b"k" * size).decode()


def test_several_secrets_are_several_keys() -> None:
    """In their order, so that a new one can stand beside the old one."""
    secrets = SecretStr(f"{secret_of(24)}, {secret_of(64)}")

    assert standard_keys(secrets) == (b"k" * 24, b"k" * 64)
    assert processor_keys(SecretStr("whsec_" + "a" * 32)) == (b"whsec_" + b"a" * 32,)


def test_no_secret_is_no_key() -> None:
    """Fail closed: who has no key accepts nothing."""
    assert standard_keys(None) == processor_keys(None) == ()


@pytest.mark.parametrize(
    "secret", ["", secret_of(23), secret_of(65), secret_of(24)[6:], secret_of(24) + "!", secret_of(24) + ","]
)
def test_a_secret_of_another_form_is_refused_without_being_repeated(secret: str) -> None:
    """Standard Webhooks: "whsec_" and 24 to 64 bytes in base64."""
    with pytest.raises(ValueError, match="24 to 64 bytes in base64") as refused:
        standard_keys(SecretStr(secret))

    assert not secret or secret not in str(refused.value)
