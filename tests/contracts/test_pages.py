from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from buf.validate import validate_pb2
from contracts.pages import is_list, problems_of_pages
from contracts.services import our_services
from mesh.data.pages import MAX_PAGE_SIZE

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor

TEXT: dict[str, Any] = {"type": FieldDescriptorProto.TYPE_STRING, "label": FieldDescriptorProto.LABEL_OPTIONAL}
NUMBER: dict[str, Any] = {"type": FieldDescriptorProto.TYPE_INT32, "label": FieldDescriptorProto.LABEL_OPTIONAL}
LIST_REQUEST = {"page_size": NUMBER, "page_token": TEXT}


def a_method(
    name: str, request_fields: dict[str, dict[str, Any]], response_fields: dict[str, dict[str, Any]], most: int = 0
) -> MethodDescriptor:
    """Declare a method with these request and response fields. `most` is the largest valid page_size, 0 for any."""
    file = descriptor_pb2.FileDescriptorProto(name="pages.proto", package="pages", syntax="proto3")
    for message_name, fields in (("Asked", request_fields), ("Answered", response_fields)):
        message = file.message_type.add(name=message_name)
        for number, (field_name, kind) in enumerate(fields.items(), 1):
            field = message.field.add(name=field_name, number=number, **kind)
            if most and field_name == "page_size":
                field.options.Extensions[validate_pb2.field].int32.lte = most
    file.service.add(name="S").method.add(name=name, input_type=".pages.Asked", output_type=".pages.Answered")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool.FindMethodByName(f"pages.S.{name}")


def test_a_paginated_list_passes() -> None:
    """A list method with the three pagination fields has no problem, nor has a method that is no list (AIP-158)."""
    assert list(problems_of_pages(a_method("ListThings", LIST_REQUEST, {"next_page_token": TEXT}))) == []
    assert list(problems_of_pages(a_method("GetThing", {}, {}))) == []


@pytest.mark.parametrize(
    ("request_fields", "response_fields", "words"),
    [
        ({}, {"next_page_token": TEXT}, ["page_size of type int32", "page_token of type string"]),
        (LIST_REQUEST, {}, ["next_page_token of type string"]),
        ({**LIST_REQUEST, "page_size": TEXT}, {"next_page_token": TEXT}, ["page_size of type int32"]),
    ],
)
def test_a_list_without_pagination_is_reported(
    request_fields: dict[str, dict[str, Any]], response_fields: dict[str, dict[str, Any]], words: list[str]
) -> None:
    """Each missing or mistyped pagination field of a list method is reported.

    Pagination cannot be added later without breaking callers that take one response for everything (AIP-158).
    """
    problems = list(problems_of_pages(a_method("ListThings", request_fields, response_fields)))

    assert len(problems) == len(words)
    assert all(word in problem for word, problem in zip(words, problems, strict=True))


def test_a_page_size_rule_that_rejects_is_reported() -> None:
    """A rule that rejects a large page_size is reported, because a server should lower it instead (AIP-158)."""
    [problem] = problems_of_pages(a_method("SearchThings", LIST_REQUEST, {"next_page_token": TEXT}, most=100))

    assert problem.startswith("page_size")


@pytest.mark.requirement("C3")
def test_every_list_response_allows_the_largest_page() -> None:
    """The repeated field of each list response may hold as many items as the largest page."""
    methods = [method for service in our_services() for method in service.methods if is_list(method)]

    limits = {
        method.full_name: field.GetOptions().Extensions[validate_pb2.field].repeated.max_items
        for method in methods
        for field in method.output_type.fields
        if field.is_repeated
    }

    assert len(limits) == len(methods)
    assert set(limits.values()) == {MAX_PAGE_SIZE}
