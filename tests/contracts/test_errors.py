from __future__ import annotations

import inspect
import re
from collections import Counter
from pathlib import Path

import pytest

from contracts import errors
from contracts.service_error import PREFIX, ServiceError, UnknownError
from solo60.common.v1 import errors_pb2
from solo60.common.v1.errors_pb2 import ErrorReason

CONTRACT = Path(__file__).parents[2] / "proto/solo60/common/v1/errors.proto"
REASONS = [number for number in ErrorReason.values() if number != errors_pb2.ERROR_REASON_UNSPECIFIED]
CLASSES = [
    each
    for _, each in inspect.getmembers(errors, inspect.isclass)
    if issubclass(each, ServiceError) and each not in {ServiceError, UnknownError}
]


@pytest.mark.requirement("L2")
def test_every_reason_of_the_contract_has_exactly_one_class() -> None:
    """Each error reason of the contract has exactly one Python class, and every class has such a reason."""
    assert Counter(each.reason for each in CLASSES) == Counter(REASONS)


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_a_class_is_named_and_coded_like_its_reason(error: type[ServiceError]) -> None:
    """Class name, reason and status code of each error match the contract."""
    value = errors_pb2.DESCRIPTOR.enum_types_by_name["ErrorReason"].values_by_number[error.reason]

    assert error.__name__ == value.name.removeprefix(PREFIX).title().replace("_", "")
    assert error.code.value[0] == value.GetOptions().Extensions[errors_pb2.code]
    assert ServiceError.by_reason[error.reason_name()] is error


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_class_and_contract_describe_an_error_in_the_same_words(error: type[ServiceError]) -> None:
    """The docstring of an error is the comment on its reason in errors.proto."""
    reason = f"{PREFIX}{error.reason_name()}"
    match = re.search(rf"((?: *//.*\n)+) *{reason} = ", CONTRACT.read_text())

    assert match is not None
    assert " ".join(line.strip().removeprefix("//").strip() for line in match[1].splitlines()) == error.__doc__


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_the_default_message_of_an_error_is_its_docstring(error: type[ServiceError]) -> None:
    """An error without a message of its own uses the docstring of its class, which ends with a full stop."""
    assert error().message == error.__doc__
    assert error().message.endswith(".")
    assert error("Another sentence.").message == "Another sentence."
