"""Changes of error reasons: their status codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.rpc import code_pb2

from contracts.diff.change import change
from contracts.diff.policies import name_in
from contracts.image import name_of
from contracts.service_error import FIRST_DOMAIN_REASON
from solo60.common.v1 import errors_pb2
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import EnumValueDescriptor

    from contracts.diff.change import Change
    from contracts.diff.versions import Versions
    from contracts.image import Image

_CODE = (errors_pb2.CODE_FIELD_NUMBER, "code")


def reason_changes(versions: Versions) -> Iterator[Change]:
    """Yield a change for each error reason with another status code."""
    new_reasons = _reasons_in(versions.after)
    for name, old in _reasons_in(versions.before).items():
        new = new_reasons.get(name)
        if new is None:
            continue
        before, now = (each.GetOptions().Extensions[errors_pb2.code] for each in (old, new))
        if before != now:
            names = [name_in(code_pb2.Code.DESCRIPTOR, each) for each in (before, now)]
            text = f"code: {names[0]} before, {names[1]} now."
            yield change("ERROR_CODE_CHANGED", name, text, versions.place_of(new, _CODE), _callers(versions, old))


def _reasons_in(image: Image) -> dict[str, EnumValueDescriptor]:
    return {
        value.name: value
        for file in image.files
        for enum in file.enum_types_by_name.values()
        if enum.full_name == errors_pb2.ErrorReason.DESCRIPTOR.full_name
        for value in enum.values
    }


def _callers(versions: Versions, reason: EnumValueDescriptor) -> set[str]:
    """Return the callers of the methods that may fail with a reason."""
    is_of_mesh = reason.number < FIRST_DOMAIN_REASON
    return versions.usage.callers_of(
        name_of(method)
        for method in versions.before.methods.values()
        if is_of_mesh or reason.number in method.GetOptions().Extensions[policy_pb2.policy].errors
    )
