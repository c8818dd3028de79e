from __future__ import annotations

import pytest

from buf.validate import validate_pb2
from contracts.pages import is_list
from contracts.services import our_services
from mesh.data.pages import MAX_PAGE_SIZE


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
