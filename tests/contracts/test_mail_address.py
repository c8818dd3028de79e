from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.address_violations import address_violations
from contracts.mail_address import MailAddress, canonical, readable
from contracts.violations import violations_of
from solo60.example.v1.echo_pb2 import EchoRequest

# Each address in four forms: as written, for SMTP, as stored, and as shown to people.
DELIVERABLE = [
    ("ada@solo60.example",) * 4,
    ("Ada.Lovelace+gym@Solo60.Example",) * 4,
    ("a..b@docomo.ne.jp", '"a..b"@docomo.ne.jp', "a..b@docomo.ne.jp", "a..b@docomo.ne.jp"),
    ('"a..b"@docomo.ne.jp', '"a..b"@docomo.ne.jp', "a..b@docomo.ne.jp", "a..b@docomo.ne.jp"),
    ("ab.@docomo.ne.jp", '"ab."@docomo.ne.jp', "ab.@docomo.ne.jp", "ab.@docomo.ne.jp"),
    ('"ada"@solo60.example', "ada@solo60.example", "ada@solo60.example", "ada@solo60.example"),
    ('"a b"@solo60.example',) * 4,
    ('"a@b"@solo60.example',) * 4,
    ('"a\\"b\\\\c"@solo60.example',) * 4,
    ("user@bücher.example", *("user@xn--bcher-kva.example",) * 2, "user@bücher.example"),
    ("user@BU\u0308CHER.example", *("user@xn--bcher-kva.example",) * 2, "user@bücher.example"),
    ("user@xn--bcher-kva.example", *("user@xn--bcher-kva.example",) * 2, "user@bücher.example"),
    ("user@faß.example", *("user@xn--fa-hia.example",) * 2, "user@faß.example"),
    ("user@例え。テスト", *("user@xn--r8jz45g.xn--zckzah",) * 2, "user@例え.テスト"),
    (f"{'a' * 64}@solo60.example",) * 4,
    ("a@b--c.example",) * 4,
]
UNDELIVERABLE = [
    "ada",
    "@solo60.example",
    "ada@",
    "a b@solo60.example",
    "a,b@solo60.example",
    "a@b@solo60.example",
    "Ada <ada@solo60.example>",
    "ada@solo60.example\n",
    "ada@solo60.example\r\nBcc: eve@solo60.example",
    '"a\nb"@solo60.example',
    '""@solo60.example',
    '"a"b"@solo60.example',
    "jürgen@solo60.example",
    "ada@localhost",
    "ada@192.0.2.1",
    "ada@[192.0.2.1]",
    "ada@solo60.example.",
    "ada@solo60..example",
    "ada@-solo60.example",
    "ada@solo_60.example",
    "ada@xn--zzzz.example",
    "ada@☃.example",
    "ada@a\u202eb.example",
    f"{'a' * 65}@solo60.example",
    f"{'a' * 62}..b@solo60.example",
    f"ada@{'a' * 64}.example",
    f"ada@{'ü' * 60}.example",
    f"ada@{'a' * 50}.{'b' * 50}.{'c' * 50}.{'d' * 50}.{'e' * 50}.example",
]


@pytest.mark.parametrize(("text", "wire", "stored", "shown"), DELIVERABLE)
def test_a_deliverable_address_is_accepted_in_each_form(text: str, wire: str, stored: str, shown: str) -> None:
    """Contract and servers accept a deliverable address in each of its forms, and all have the same stored form."""
    address = MailAddress.parse(text)

    assert (address.wire, address.canonical, address.readable) == (wire, stored, shown)
    for form in (text, wire, stored, shown):
        assert canonical(form) == stored
        assert not violations_of(EchoRequest(text="hi", email=form))
        assert not address_violations(EchoRequest(text="hi", email=form))


@pytest.mark.parametrize("text", UNDELIVERABLE)
def test_an_undeliverable_address_is_rejected(text: str) -> None:
    """An undeliverable address violates its field's rules, and the error message does not repeat the address."""
    with pytest.raises(ValueError, match=r"^must ") as caught:
        MailAddress.parse(text)

    request = EchoRequest(text="hi", email=text)
    found = violations_of(request) or address_violations(request)
    assert [violation.field for violation in found] == ["email"]
    assert text not in str(caught.value)
    assert readable(text) == text


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.sampled_from(["", '"', "@", "@b.example"]))
def test_the_contract_pattern_is_never_stricter_than_servers(text: str, end: str) -> None:
    """The pattern of the contract accepts every address that servers accept.

    Clients in other languages check the pattern alone, so it must not be stricter.
    """
    written = f'"{text}"{end}' if end == '"' else text + end
    try:
        MailAddress.parse(written)
    except ValueError:
        return
    assert not violations_of(EchoRequest(text="hi", email=written))
