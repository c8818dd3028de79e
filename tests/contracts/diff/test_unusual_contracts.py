from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodOptions

from contracts.diff import changes_between
from contracts.image import Image
from solo60.mesh.v1 import policy_pb2
from tests.contracts.diff.shop import SOURCE, compiled

if TYPE_CHECKING:
    from contracts.diff import Change

SKU = SOURCE[SOURCE.index("extend buf.validate.StringRules") : SOURCE.index("service ShopService")]
CEL = "  option (buf.validate.message).cel = {\n"


def changes(old: FileDescriptorSet, new: FileDescriptorSet) -> list[Change]:
    """Return the changes between two versions of the shop's contracts."""
    return changes_between(Image(old, {"shop.proto"}), Image(new, {"shop.proto"}))


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ("criticality: 7", "criticality: CRITICALITY_NORMAL before, 7 now."),
        ("retry {codes: 99}", "retry.codes: 99 is new."),
        ("errors: 99999", "errors: 99999 is new."),
        ("deprecation {sunset {seconds: 4611686018427387904}}", "before, 4611686018427387904 s now."),
    ],
)
def test_values_of_a_later_policy_are_compared(policy: str, text: str) -> None:
    """Values that this version of policy.proto does not know, or that are out of range, are shown as numbers."""
    old, new = compiled(), FileDescriptorSet()
    new.CopyFrom(old)
    [stock] = [service for file in new.file for service in file.service if service.name == "StockService"]
    options: MethodOptions = stock.method[0].options
    text_format.Merge(policy, options.Extensions[policy_pb2.policy])

    assert any(text in change.text for change in changes(old, new))


def test_a_rule_with_a_value_out_of_range_is_compared() -> None:
    """A rule whose duration is out of range is reported as a changed rule."""
    rule = "google.protobuf.Duration delay = 3 [(buf.validate.field).duration.lt = {seconds: 9223372036854775807}];"

    found = changes(compiled(), compiled(SOURCE.replace("google.protobuf.Duration delay = 3;", rule)))

    assert {change.subject for change in found} == {"shop.v1.Released.delay"}


def test_each_of_two_expressions_with_one_id_is_compared() -> None:
    """An expression is found although an older expression with the same id follows it."""
    added = CEL + '    id: "by_name_or_sku"\n    expression: "this.name != \'b\'"\n  };\n'

    found = changes(compiled(), compiled(SOURCE.replace(CEL, added + CEL)))

    assert "REQUEST_RULE_TIGHTENED" in {change.id for change in found}


def test_a_predefined_rule_inside_of_a_message_is_compared() -> None:
    """A predefined rule may be declared inside of a message too."""
    source = SOURCE.replace(SKU, f"message Rules {{\n{SKU}}}\n").replace("(shop.v1.sku)", "(shop.v1.Rules.sku)")

    [change] = changes(compiled(source), compiled(source.replace("[A-Z]+$", "[A-Z]{3}$")))

    assert (change.id, change.subject, change.callers) == (
        "RULE_CHANGED",
        "shop.v1.Rules.sku",
        ("shop.v1.ShopService/PlaceOrder",),
    )
