from __future__ import annotations

import pytest

from cli.method_names import find_by_name, short_name
from cli.screen import CommandError
from contracts.services import all_methods


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
def test_a_method_is_found_by_every_name_that_people_write(name: str) -> None:
    """The form of contracts, of grpcurl and of people in a hurry all mean the same."""
    assert find_by_name(name).full_name == "solo60.gym.v1.GymService/GetGym"


def test_every_method_has_a_short_name_of_its_own() -> None:
    """What near matches are suggested by can be typed as it stands."""
    for method in all_methods().values():
        assert find_by_name(short_name(method)).full_name == method.full_name


def test_an_unknown_method_is_refused_with_near_ones() -> None:
    """A slip of the finger is answered with what was meant."""
    with pytest.raises(CommandError, match=r'no method "gym.GetGmy". Did you mean gym.GetGym'):
        find_by_name("gym.GetGmy")


def test_a_name_that_is_near_to_nothing_is_refused_with_an_example() -> None:
    """No guess is better than a wild one."""
    with pytest.raises(CommandError, match=r"Names have the form gym\.GetGym\."):
        find_by_name("%%%%%")
