from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from contracts.diff import Change, changes_between
from contracts.diff.kinds import KINDS, Severity
from contracts.image import Image
from tests.contracts.diff.planted_changes import CHANGES, RULE_CHANGES, Edit
from tests.contracts.diff.shop import SOURCE, compiled, edited, shop

PLANTED = (*CHANGES, *RULE_CHANGES)
ROOT = Path(__file__).parents[3]


def name_of(planted: Edit) -> str:
    """Return the name of a test case."""
    return f"{planted.id}-{planted.subject.rpartition('.')[2]}"


def compare(folder: Path, old: str, new: str) -> list[Change]:
    """Return the changes between two sources of the shop's contracts."""
    folders = (folder / "old", folder / "new")
    for each in folders:
        each.mkdir()
    return changes_between(shop(folders[0], old), shop(folders[1], new))


@pytest.mark.parametrize("planted", PLANTED, ids=name_of)
def test_each_change_is_found(planted: Edit, tmp_path: Path) -> None:
    """Each planted change is found with its id, its severity, its line in the new contracts and the callers it hits."""
    source = edited(planted.old, planted.new)

    changes = compare(tmp_path, SOURCE, source)

    [change] = [each for each in changes if (each.id, each.subject) == (planted.id, planted.subject)]
    assert change.severity == KINDS[planted.id].severity
    assert change.location.file == "shop.proto"
    assert planted.line in source.splitlines()[change.location.line - 1]
    assert change.callers == planted.callers
    assert change.text.endswith(KINDS[planted.id].advice)


@pytest.mark.parametrize("planted", [planted for planted in PLANTED if planted.reverse], ids=name_of)
def test_each_reversed_change_is_found(planted: Edit, tmp_path: Path) -> None:
    """The reverse of a planted change is found with its own id, and hits nobody if it is safe."""
    changes = compare(tmp_path, edited(planted.old, planted.new), SOURCE)

    [change] = [each for each in changes if (each.id, each.subject) == (planted.reverse, planted.subject)]
    assert change.severity is not Severity.SAFE or change.callers == ()


def test_every_kind_of_change_is_planted() -> None:
    """Each kind of change has a planted case."""
    assert {id_ for planted in PLANTED for id_ in (planted.id, planted.reverse) if id_} | {"ERROR_CODE_CHANGED"} == set(
        KINDS
    )


def test_a_planted_change_causes_no_other_breaking_change(tmp_path: Path) -> None:
    """A shorter deadline is one change: the methods and messages around it have none."""
    changes = compare(tmp_path, SOURCE, edited("deadline: {seconds: 10}", "deadline: {seconds: 9}"))

    assert [change.id for change in changes] == ["DEADLINE_SHORTENED"]
    assert changes[0].text.startswith("deadline: 10 s before, 9 s now. ")


def test_equal_contracts_have_no_changes(tmp_path: Path) -> None:
    """Equal contracts, also with other comments and another order of declarations, have no changes."""
    assert compare(tmp_path, SOURCE, SOURCE.replace("// Article number.\n", "// Number.\n\n")) == []


def test_an_idle_timeout_as_long_as_the_deadline_is_no_change(tmp_path: Path) -> None:
    """Without an idle timeout, a stream may pause until its deadline. So declaring just that changes nothing."""
    old, new = (edited("idle_timeout: {seconds: 10}", text) for text in ("", "idle_timeout: {seconds: 60}"))

    assert compare(tmp_path, old, new) == []


def test_the_callee_that_outlasts_a_shortened_caller_is_risky(tmp_path: Path) -> None:
    """If a caller's deadline becomes shorter than the callee's, the callee has a risky change that names the caller."""
    changes = compare(tmp_path, SOURCE, edited("deadline: {seconds: 10}", "deadline: {seconds: 2}"))

    [late] = [change for change in changes if change.id == "DEADLINE_BEYOND_CALLER"]
    assert late.callers == ("shop.v1.ShopService/PlaceOrder",)


def test_another_status_code_of_an_error_reason_hits_the_callers_of_its_methods() -> None:
    """A reason with another status code is breaking for the callers of the methods that list the reason."""
    before, after = compiled(), FileDescriptorSet()
    after.CopyFrom(before)
    [file] = [file for file in after.file if file.name == "solo60/common/v1/errors.proto"]
    [reason] = [value for value in file.enum_type[0].value if value.name == "ERROR_REASON_GYM_NOT_FOUND"]
    reason.options.ParseFromString(code_option(9))

    [change] = changes_between(Image(before), Image(after))

    assert (change.id, change.subject) == ("ERROR_CODE_CHANGED", "ERROR_REASON_GYM_NOT_FOUND")
    assert change.text.startswith("code: NOT_FOUND before, FAILED_PRECONDITION now. ")
    assert change.callers == ("shop.v1.ShopService/PlaceOrder",)


def code_option(number: int) -> bytes:
    """Return the serialized option of an error reason with a status code."""
    from google.protobuf.descriptor_pb2 import EnumValueOptions  # noqa: PLC0415

    from solo60.common.v1 import errors_pb2  # noqa: PLC0415

    options = EnumValueOptions()
    options.Extensions[errors_pb2.code] = number
    return options.SerializeToString()


def test_the_documentation_lists_every_kind_of_change() -> None:
    """The table in docs/contract-changes.md has the severity and the advice of each kind of change."""
    lines = (ROOT / "docs/contract-changes.md").read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if line.startswith("| `")] == [
        f"| `{id_}` | {kind.severity} | {kind.advice} |" for id_, kind in KINDS.items()
    ]


def test_the_calls_of_a_new_method_are_reported(tmp_path: Path) -> None:
    """A new method breaks nobody, but its calls are reported, because its service's key needs their scopes."""
    method = """service ShopService {
  rpc Show(ShowRequest) returns (ShowRequest) {
    option (solo60.mesh.v1.policy) = {
      deadline: {seconds: 5}
      scopes: ["shop.read"]
      calls: ["shop.v1.StockService/ListItems"]
    };
  }
"""
    source = SOURCE.replace("service ShopService {\n", method) + "\nmessage ShowRequest {}\n"

    [change] = compare(tmp_path, SOURCE, source)

    assert (change.severity, change.id, change.subject) == (Severity.SAFE, "CALL_ADDED", "shop.v1.ShopService/Show")
    assert "It requires stock.read." in change.text
