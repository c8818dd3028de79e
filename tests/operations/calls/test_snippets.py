from __future__ import annotations

import ast
import shlex
from typing import TYPE_CHECKING

import pytest

from local.keys import OPERATOR
from mesh.config import load_settings
from operations.calls.requests import InvalidRequestText, parse_request
from operations.calls.snippets import snippets_of
from operations.calls.traced_call import CallOptions
from operations.contracts.catalog import method_of

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "$(reboot) `x` \"'\\ !\n"


def snippets(group: str, name: str, request: str, options: CallOptions, data_dir: Path) -> dict[str, str]:
    """Return the texts of a call by tool."""
    method = method_of(group, name)
    settings = load_settings(data_dir=data_dir, port_offset=2000)
    return {each.tool: each.text for each in snippets_of(method, parse_request(method, request), options, settings)}


def test_hostile_text_stays_one_word(tmp_path: Path) -> None:
    """Neither the request nor a header can end its quotation marks."""
    options = CallOptions((("x-note", HOSTILE.strip()),), 2.5)
    found = snippets("user", "CreateUser", '{"display_name": "$(reboot) `x` \\"\'"}', options, tmp_path)

    words = shlex.split(found["solo60"])
    assert words[:4] == [f"DATA_DIR={tmp_path}", "PORT_OFFSET=2000", "solo60", "call"]
    assert words[-3:] == ["2.5", "--metadata", f"x-note={HOSTILE.strip()}"]
    # buf reads a header as a line of comma-separated values.
    headers = {"buf curl": """"x-note: $(reboot) `x` ""'\\ !\"""", "grpcurl": f"x-note: {HOSTILE.strip()}"}
    for tool, header in headers.items():
        words = shlex.split(found[tool])
        assert header in words
        assert '{"display_name": "$(reboot) `x` \\"\'"}' in words
    assert "-max-time 2.5" in found["grpcurl"]
    ast.parse(found["Python"])


def test_the_key_is_read_from_a_file_or_a_variable(tmp_path: Path) -> None:
    """A text never has the key in it."""
    assert '"x-api-key: $API_KEY"' in snippets("gym", "ListGyms", "{}", CallOptions(), tmp_path)["grpcurl"]
    key_file = load_settings(data_dir=tmp_path).key_path_of(OPERATOR)
    key_file.parent.mkdir(parents=True)
    key_file.write_text("sk_secret")
    found = snippets("gym", "ListGyms", "{}", CallOptions(), tmp_path)

    assert f'"x-api-key: $(cat {key_file})"' in found["grpcurl"]
    assert not [text for text in found.values() if "sk_secret" in text]


def test_a_required_idempotency_key_is_created(tmp_path: Path) -> None:
    """Tools that know nothing of the contract get a new key, unless the reader has chosen one."""
    request = '{"user_id": "0198c1a2-0000-7000-8000-000000000000"}'
    new = snippets("session", "BookSession", request, CallOptions(), tmp_path)["buf curl"]
    chosen = CallOptions((("idempotency-key", "mine"),))

    assert '"idempotency-key: $(uuidgen)"' in new
    assert "uuidgen" not in snippets("session", "BookSession", request, chosen, tmp_path)["buf curl"]


def test_a_contract_of_every_service_is_called_at_one(tmp_path: Path) -> None:
    """`solo60 call` has no name for such a method, so the other tools remain, with the address of the chosen one."""
    found = snippets("mesh", "ListMessages", "{}", CallOptions(at="gym"), tmp_path)

    assert list(found) == ["buf curl", "grpcurl"]
    assert "127.0.0.1:52053 solo60.mesh.v1.OutboxService/ListMessages" in found["grpcurl"]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"period": {"start_time": "noon"}}', "period.start_time"),
        ('{"period": {"begin": 1}}', "period.begin"),
        ('{"gym_id": 3}', "gym_id"),
        ('{"gim": 3}', "gim"),
        ("[]", ""),
        ("{", ""),
    ],
)
def test_an_invalid_request_names_its_field(text: str, field: str) -> None:
    """A request of a wrong form leads to the invalid field, as far as the parser names it."""
    with pytest.raises(InvalidRequestText) as raised:
        parse_request(method_of("session", "CheckConflicts"), text)

    assert raised.value.field == field
