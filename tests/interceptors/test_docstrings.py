from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING

import pytest

import interceptors
from interceptors.chain.server import ServerInterceptor
from tests.support.echo_call import call_echo

if TYPE_CHECKING:
    from types import ModuleType

MODULES = [
    importlib.import_module(found.name) for found in pkgutil.walk_packages(interceptors.__path__, "interceptors.")
]
CLASSES = [
    value
    for module in MODULES
    for value in vars(module).values()
    if inspect.isclass(value) and issubclass(value, ServerInterceptor) and value.__module__ == module.__name__
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_doctests_of_a_module_pass(module: ModuleType) -> None:
    """The examples in the docstrings of each interceptor module work on a real socket."""
    outcome = doctest.testmod(module, extraglobs={"call_echo": call_echo}, report=True)
    assert outcome.failed == 0


@pytest.mark.parametrize(
    "interceptor", [each for each in CLASSES if each is not ServerInterceptor], ids=lambda each: each.__name__
)
def test_every_server_interceptor_has_an_example(interceptor: type[ServerInterceptor]) -> None:
    """The docstring of each server interceptor has an example that serves calls with it."""
    assert ">>> call_echo(" in (interceptor.__doc__ or "")
