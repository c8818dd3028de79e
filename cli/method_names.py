"""Method names: every way in which people write a method, and the nearest ones where nobody has written it so."""

from __future__ import annotations

from collections import defaultdict
from difflib import get_close_matches
from typing import TYPE_CHECKING

from cli.screen import CommandError
from contracts.services import all_methods

if TYPE_CHECKING:
    from contracts.method import Method


def find_by_name(name: str) -> Method:
    """Return the method called "gym.GetGym" or by any end of "solo60.gym.v1.GymService/GetGym", such as "GetGym".

    Case does not matter, nor whether it is a dot or a slash. Raises CommandError with near matches when no method is
    called so, and with all that are when there are several.
    """
    by_name: dict[str, list[Method]] = defaultdict(list)
    for method in all_methods().values():
        for each in _names_of(method):
            by_name[each.lower()].append(method)
    wanted = name.lstrip("/").replace("/", ".").lower()
    found = by_name.get(wanted, [])
    if len(found) == 1:
        return found[0]
    if found:
        raise CommandError(f'"{name}" may be {" or ".join(map(short_name, found))}.')
    near = [by_name[each][0] for each in get_close_matches(wanted, by_name, n=10, cutoff=0.5)]
    names = list(dict.fromkeys(map(short_name, near)))[:3]
    hint = f"Did you mean {' or '.join(names)}?" if names else "Write it as gym.GetGym."
    raise CommandError(f'There is no method "{name}". {hint}')


def short_name(method: Method) -> str:
    """Return the shortest name that no two methods share: "gym.GetGym"."""
    return f"{method.service.split('.')[1]}.{method.name}"


def _names_of(method: Method) -> tuple[str, ...]:
    parts = [*method.service.split("."), method.name]
    return short_name(method), *(".".join(parts[first:]) for first in range(len(parts)))
