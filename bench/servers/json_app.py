"""Echo service as a FastAPI application: JSON over HTTP/1.1, with a key in a header and pydantic models."""

# No `from __future__ import annotations`: FastAPI evaluates annotations at run time.

from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, Field

from bench.tally import Tally
from bench.workspace import own_key

_key = own_key()


class Request(BaseModel):
    """Request of the echo."""

    text: str = Field(min_length=1, max_length=1000)


class Response(BaseModel):
    """Response of the echo."""

    text: str = Field(min_length=1)


async def check_key(x_api_key: Annotated[str, Header()]) -> None:
    """Reject a wrong key with status 401."""
    if x_api_key != _key:
        raise HTTPException(401)


def json_app(name: str) -> FastAPI:
    """Return the application, with its calls counted under `name`."""
    tally = Tally(name)
    app = FastAPI()

    async def echo(request: Request, _: Annotated[None, Depends(check_key)]) -> Response:
        tally.add()
        return Response(text=request.text)

    app.post("/echo")(echo)
    return app
