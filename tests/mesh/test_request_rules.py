from __future__ import annotations

import pytest

from contracts.errors import InvalidRequest, Violation
from mesh.request_rules import require, time_zone_known


@pytest.mark.parametrize("name", ["UTC", "Europe/London", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_a_zone_of_the_database_is_known(name: str) -> None:
    """A gym or a user may live by any clock that IANA names."""
    assert time_zone_known("time_zone", name) is None


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    "name", ["", "Europe", "Europe/Londinium", "europe/london", "Factory", "localtime", "../UTC", "/etc/passwd"]
)
def test_anything_else_is_a_violation_of_its_field(name: str) -> None:
    """The field is named, and the sentence does not repeat the value."""
    violation = time_zone_known("user.time_zone", name)

    assert violation is not None
    assert violation.field == "user.time_zone"
    assert violation.description == "must be the IANA name of a time zone"


@pytest.mark.requirement("C3")
def test_all_violations_are_told_at_once() -> None:
    """One violation for each bad field, in one answer."""
    one, another = Violation("a", "must be one"), Violation("b", "must be another")

    require(None, None)
    with pytest.raises(InvalidRequest) as refusal:
        require(one, None, another)

    assert refusal.value.violations == (one, another)
