from __future__ import annotations

import pytest

from contracts.errors import InvalidRequest, Violation
from mesh.serving.request_rules import require, time_zone_known


@pytest.mark.parametrize("name", ["UTC", "Europe/London", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_a_time_zone_of_iana_is_accepted(name: str) -> None:
    """Every time zone that IANA names is accepted."""
    assert time_zone_known("time_zone", name) is None


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    "name", ["", "Europe", "Europe/Londinium", "europe/london", "Factory", "localtime", "../UTC", "/etc/passwd"]
)
def test_any_other_time_zone_is_a_violation(name: str) -> None:
    """A time zone that IANA does not name is a violation.

    The violation names the field and does not repeat the value.
    """
    violation = time_zone_known("user.time_zone", name)

    assert violation is not None
    assert violation.field == "user.time_zone"
    assert violation.description == "must be the IANA name of a time zone"


@pytest.mark.requirement("C3")
def test_all_violations_are_reported_at_once() -> None:
    """`require` raises InvalidRequest with all violations at once."""
    one, another = Violation("a", "must be one"), Violation("b", "must be another")

    require(None, None)
    with pytest.raises(InvalidRequest) as refusal:
        require(one, None, another)

    assert refusal.value.violations == (one, another)
