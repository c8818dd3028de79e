from __future__ import annotations

import pytest

from contracts.services import all_methods
from operations.contracts.method_names import UnknownMethod, find_by_name


@pytest.mark.parametrize(
    "name",
    [
        "gym.GetGym",
        "gym/GetGym",
        "GymService/GetGym",
        "GymService.GetGym",
        "solo60.gym.v1.GymService/GetGym",
        "/solo60.gym.v1.GymService/GetGym",
        "solo60.gym.v1.GymService.GetGym",
        "gym.v1.GymService.GetGym",
        "GetGym",
        "gym.getgym",
    ],
)
def test_a_method_is_found_by_every_common_spelling(name: str) -> None:
    """Short names, full names and grpcurl's form all find the same method."""
    assert find_by_name(name).full_name == "solo60.gym.v1.GymService/GetGym"


def test_every_method_has_a_unique_short_name() -> None:
    """Every method is found by its short name, so a suggested name can be typed as shown."""
    for method in all_methods().values():
        assert find_by_name(method.short_name).full_name == method.full_name


def test_an_unknown_method_is_rejected_with_similar_ones() -> None:
    """A misspelt method is rejected, and the error suggests the similar one."""
    with pytest.raises(UnknownMethod, match=r'no method "gym.GetGmy". Did you mean gym.GetGym'):
        find_by_name("gym.GetGmy")


def test_a_name_without_a_similar_method_is_rejected_with_an_example() -> None:
    """A name that resembles no method is rejected, and the error shows an example instead of a suggestion."""
    with pytest.raises(UnknownMethod, match=r"Names have the form gym\.GetGym\."):
        find_by_name("%%%%%")
