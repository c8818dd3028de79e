import pytest

from mesh import base64url


@pytest.mark.parametrize("data", [b"", b"\xfb", b"\xfb\xff", b"\xfb\xff\xbf", b"\0\0\0\0"])
def test_text_has_no_padding_and_is_decoded_to_the_same_bytes(data: bytes) -> None:
    """A text has no padding, and both functions decode it to the same bytes."""
    text = base64url.encode(data)

    assert "=" not in text
    assert base64url.decode(text) == base64url.decode_exact(text) == data


def test_alphabet_is_safe_in_urls() -> None:
    """The two characters beyond letters and digits are those of base64url."""
    assert base64url.encode(b"\xfb\xff\xbf") == "-_-_"


@pytest.mark.parametrize("other", ["-w==", "-x", "-w\n\n\n\n", "-....w"])
def test_only_one_text_of_the_same_bytes_is_exact(other: str) -> None:
    """Padding, spare bits and other characters give another text of the same bytes, which is not exact."""
    assert base64url.encode(b"\xfb") == "-w"
    assert base64url.decode(other) == b"\xfb"
    with pytest.raises(ValueError, match="without padding"):
        base64url.decode_exact(other)


@pytest.mark.parametrize("text", ["A", "ä", "AAAAA"])
def test_text_that_cannot_be_decoded_is_rejected(text: str) -> None:
    """Text of an impossible length or with a letter outside ASCII is rejected."""
    with pytest.raises(ValueError, match=r"padding|ASCII|data characters"):
        base64url.decode(text)
