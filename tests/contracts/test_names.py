from __future__ import annotations

import pytest

from contracts.names import short_name, short_package


@pytest.mark.parametrize(
    ("package", "short"),
    [
        ("solo60.gym.v1", "gym"),
        ("com.acme.orders.v1beta2", "orders"),
        ("shop", "shop"),
        ("v1", "v1"),
        ("", ""),
    ],
)
def test_a_package_is_called_by_its_last_name_without_the_version(package: str, short: str) -> None:
    """The short name of a package is its last part that is not a version."""
    assert short_package(package) == short


def test_names_without_a_package_are_kept() -> None:
    """A method without a package has its own name as its short name."""
    assert short_name("Greeter/Greet") == "Greet"
    assert short_name("solo60.gym.v1.GymService/GetGym") == "gym.GetGym"
