from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

import interceptors
from interceptors.chain.client import ClientInterceptor
from interceptors.chain.server import ServerInterceptor
from interceptors.keys.keyring import Keyring
from mesh.config import load_settings
from mesh.serving.channel import client_interceptors
from mesh.serving.server import server_interceptors


def interceptor_classes() -> set[str]:
    """Return the names of all public interceptor classes, including their base classes."""
    modules = [
        importlib.import_module(each.name) for each in pkgutil.walk_packages(interceptors.__path__, "interceptors.")
    ]
    return {
        value.__name__
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, (ServerInterceptor, ClientInterceptor))
        and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
    }


def names_of_the_type_checker() -> set[str]:
    """Return the names that the package imports for the type checker."""
    tree = ast.parse(Path(interceptors.__file__).read_text(encoding="utf-8"))
    block = next(each for each in tree.body if isinstance(each, ast.If))
    return {
        f"{each.module}.{alias.name}" for each in block.body if isinstance(each, ast.ImportFrom) for alias in each.names
    }


def test_every_interceptor_has_a_public_name() -> None:
    """The package lists each public interceptor class."""
    assert interceptor_classes() <= set(interceptors.__all__)


@pytest.mark.parametrize("name", interceptors.__all__)
def test_every_public_name_exists(name: str) -> None:
    """Each listed name can be imported from the package."""
    assert getattr(interceptors, name).__name__ == name


def test_the_interceptors_are_listed_in_the_order_of_the_chain() -> None:
    """The package lists the interceptors in the order in which servers and clients use them, outermost first."""
    servers = server_interceptors(load_settings(), Keyring, CollectorRegistry())
    clients = client_interceptors(load_settings(), str, CollectorRegistry())
    chain = [type(each).__name__ for each in (*servers, *clients)]

    assert interceptors.__all__[: len(chain)] == chain


def test_the_type_checker_gets_the_same_names() -> None:
    """The imports for the type checker are those of the table."""
    assert names_of_the_type_checker() == {f"{module}.{name}" for name, module in interceptors._MODULE_OF.items()}


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that the package does not list raises AttributeError, as for every module."""
    with pytest.raises(AttributeError, match="NoSuchInterceptor"):
        interceptors.NoSuchInterceptor  # type: ignore[attr-defined]  # noqa: B018 - that is the point


def test_api_keys_load_no_grpc() -> None:
    """A program that needs only API keys loads neither gRPC nor OpenTelemetry."""
    program = "import sys, interceptors.keys.keyring; print({'grpc', 'opentelemetry'} & sys.modules.keys())"
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert shown.stdout == "set()\n"
