"""Addresses of the pages about contracts, and links to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicegui import ui

from contracts.names import own_name, package_of, short_name, short_package
from operations.addresses import page_address
from operations.contracts.catalog import Kind

if TYPE_CHECKING:
    from contracts.method import Method
    from operations.contracts.catalog import Entry

CATALOGUE = page_address("internal", "docs")


def address_of_service(name: str) -> str:
    """Return the address of the page about a service, by its short name."""
    return page_address("internal", "docs", name)


def address_of_method(full_name: str) -> str:
    """Return the address of the page about a method ("package.Service/Method")."""
    return page_address("internal", "docs", short_package(package_of(full_name)), own_name(full_name))


def address_of_type(full_name: str) -> str:
    """Return the address of the page about a message or an enum."""
    return page_address("internal", "docs", "types", full_name)


def address_of_reason(reason: str) -> str:
    """Return the address of the page about an error reason."""
    return page_address("internal", "docs", "errors", reason)


def address_of(entry: Entry) -> str:
    """Return the address of the page about an entry of the catalogue."""
    if entry.kind == Kind.METHOD:
        return address_of_method(entry.name)
    return address_of_reason(entry.name) if entry.kind == Kind.ERROR else address_of_type(entry.name)


def link_to_method(method: Method) -> ui.link:
    """Show a link to a method."""
    return link_to_name(method.full_name)


def link_to_name(full_name: str) -> ui.link:
    """Show a link to a method ("package.Service/Method") or to a type ("package.Message")."""
    target = address_of_method(full_name) if "/" in full_name else address_of_type(full_name)
    return ui.link(short_name(full_name), target).classes("mono")
