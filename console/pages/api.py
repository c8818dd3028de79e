"""Routes of the API: the methods of the services, their OpenAPI document, and the page that shows it with Scalar."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from starlette.routing import Route

from console.api import reference
from console.api.connect import ConnectApi
from console.api.document import ServedDocument

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from console.state import Console


def _methods(console: Console) -> BaseRoute:
    return Route("/solo60.{rest:path}", ConnectApi(console))


def _document(console: Console) -> BaseRoute:
    document = ServedDocument(ConnectApi(console).methods)
    return Route("/internal/openapi.json", partial(document.respond, console))


def _reference(_console: Console) -> BaseRoute:
    return Route(reference.PATH, reference.show_reference)


def _scripts(_console: Console) -> BaseRoute:
    return reference.scripts()


ROUTES = (_methods, _document, _reference, _scripts)
