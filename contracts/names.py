"""Names in contracts: the package of a service, method or event, and short forms for people."""

from __future__ import annotations

import re

_VERSION = re.compile(r"v\d+\w*")


def package_of(name: str) -> str:
    """Return the package of a service, a method ("package.Service/Method") or an event ("package.Message")."""
    return name.partition("/")[0].rpartition(".")[0]


def is_version(part: str) -> bool:
    """Return whether a part of a package's name is a version, such as "v1" or "v1beta2"."""
    return _VERSION.fullmatch(part) is not None


def short_package(package: str) -> str:
    """Return the last part of a package that is not a version: "gym" for "solo60.gym.v1"."""
    parts = [part for part in package.split(".") if not is_version(part)]
    return parts[-1] if parts else package


def own_name(name: str) -> str:
    """Return the name of a method or an event without its package and service: "GetGym"."""
    return re.split(r"[./]", name)[-1]


def short_name(name: str) -> str:
    """Return the name of a method or an event with the short name of its package: "gym.GetGym"."""
    package = short_package(package_of(name))
    return f"{package}.{own_name(name)}" if package else own_name(name)
