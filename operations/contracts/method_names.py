"""Method names: lookup of a method by any form of its name, with suggestions for unknown names."""

from __future__ import annotations

from collections import defaultdict
from difflib import get_close_matches
from typing import TYPE_CHECKING

from contracts.services import all_methods
from mesh.failure import Failure

if TYPE_CHECKING:
    from contracts.method import Method

NO_NAME_IS_NEAR = "Names have the form gym.GetGym. List them with `solo60 methods`."


class UnknownMethod(Failure):
    """No method, or more than one, has the given name; the message suggests names."""


def find_by_name(name: str) -> Method:
    """Return the method with the name "gym.GetGym", or with any suffix of "solo60.gym.v1.GymService/GetGym".

    Case is ignored, and a dot may replace the slash. Raises UnknownMethod with similar names if there is no such
    method, or with all matches if the name is ambiguous.
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
        raise UnknownMethod(f'"{name}" is ambiguous. Use {" or ".join(each.short_name for each in found)}.')
    near = [by_name[each][0] for each in get_close_matches(wanted, by_name, n=10, cutoff=0.5)]
    names = list(dict.fromkeys(each.short_name for each in near))[:3]
    hint = f"Did you mean {' or '.join(names)}?" if names else NO_NAME_IS_NEAR
    raise UnknownMethod(f'There is no method "{name}". {hint}')


def _names_of(method: Method) -> tuple[str, ...]:
    parts = [*method.service.split("."), method.name]
    return method.short_name, *(".".join(parts[first:]) for first in range(len(parts)))
