"""FastAPI: the echo as JSON over HTTP/1.1, with a key in a header and pydantic at both ends."""

# No `from __future__ import annotations`: FastAPI reads them when the program runs.

from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, Field

from bench.place import own_key
from bench.tally import Tally

_key = own_key()


class Request(BaseModel):
    """What to say back."""

    text: str = Field(min_length=1, max_length=1000)


class Response(BaseModel):
    """What was said."""

    text: str = Field(min_length=1)


async def check_key(x_api_key: Annotated[str, Header()]) -> None:
    """Refuse a wrong key."""
    if x_api_key != _key:
        raise HTTPException(401)


def json_app(name: str) -> FastAPI:
    """Return the application whose calls are counted under `name`."""
    tally = Tally(name)
    app = FastAPI()

    async def echo(request: Request, _: Annotated[None, Depends(check_key)]) -> Response:
        tally.add()
        return Response(text=request.text)

    app.post("/echo")(echo)
    return app
