"""Page `/internal/docs/openapi`: the OpenAPI document in Scalar, with "try it" for every method.

Scalar's script comes from the installed package flask-openapi-scalar. No other part of the package is used or imported,
because the package needs Flask.
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from console.frame import THEME_COOKIE, THEMES, VERSION

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

PATH = "/internal/docs/openapi"
SCRIPTS = f"{PATH}/scripts"
PACKAGE = "flask-openapi-scalar"
SCRIPT = "flask_openapi_scalar/templates/scalar/js/scalar.standalone.js"
# Scalar would load fonts, count page views and offer services of its maker. The browser would refuse all of that,
# because of the guard's policy.
OPTIONS = {
    "url": "/internal/openapi.json",
    "withDefaultFonts": False,
    "telemetry": False,
    "agent": {"disabled": True},
    "mcp": {"disabled": True},
    "showDeveloperTools": "never",
    "hideClientButton": True,
    "proxyUrl": "",
    # A key stays in the memory of the page.
    "persistAuth": False,
    "authentication": {"preferredSecurityScheme": "apiKey"},
    "documentDownloadType": "json",
    "defaultOpenFirstTag": False,
}
PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API · Solo60</title>
<link rel="icon" href="/static/favicon.svg">
<link rel="stylesheet" href="/static/reference.css?{version}">
</head>
<body>
<nav class="back" aria-label="Console"><a href="/">Solo60</a><a href="/internal/docs">Contracts</a></nav>
<main id="reference"></main>
<script src="{script}"></script>
<script>Scalar.createApiReference("#reference", {options})</script>
</body>
</html>
"""


async def show_reference(request: Request) -> Response:
    """Answer with the page, in the theme of the console."""
    try:
        script = f"{SCRIPTS}/{Path(SCRIPT).name}?{metadata.version(PACKAGE)}"
    except metadata.PackageNotFoundError:
        return PlainTextResponse(f"The package {PACKAGE} is missing. It is in the extra `console`.\n", 501)
    is_dark = THEMES.get(request.cookies.get(THEME_COOKIE, ""))
    theme = (
        {} if is_dark is None else {"forceDarkModeState": "dark" if is_dark else "light", "hideDarkModeToggle": True}
    )
    return HTMLResponse(PAGE.format(version=VERSION, script=script, options=json.dumps(OPTIONS | theme)))


def scripts() -> Mount:
    """Return the route of Scalar's script."""
    folder = Path(str(metadata.distribution(PACKAGE).locate_file(SCRIPT))).parent
    return Mount(SCRIPTS, StaticFiles(directory=folder))
