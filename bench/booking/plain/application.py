"""Parts that all plain services share: settings, key check, database pool and HTTP client."""

# No `from __future__ import annotations`: FastAPI evaluates annotations at run time.

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated

import httpx
import structlog
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic_settings import BaseSettings

from mesh.data.database import Database


class PlainSettings(BaseSettings):
    """Settings of one plain service, from the environment."""

    database_url: str
    api_key: str
    smtp_url: str = ""
    user_url: str = ""
    gym_url: str = ""
    payment_url: str = ""
    communication_url: str = ""


# The mesh's sender logs each mail.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
SETTINGS = PlainSettings()  # type: ignore[call-arg]  # from the environment


async def check_key(x_api_key: Annotated[str, Header()]) -> None:
    """Reject a wrong key with status 401."""
    if x_api_key != SETTINGS.api_key:
        raise HTTPException(401)


class State:
    """Open resources of one service."""

    database: Database
    http: httpx.AsyncClient
    # Wakes the work beside the service.
    wake: Callable[[], None]


Work = Callable[[State], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def no_work(_: State) -> AsyncIterator[None]:
    """Do nothing beside the service."""
    yield


def application(work: Work = no_work) -> tuple[FastAPI, State]:
    """Return an application and its state. `work` runs beside it."""
    state = State()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        state.database = await Database.connect(SETTINGS.database_url, max_connections=10, remaining_s=lambda: None)
        async with httpx.AsyncClient(headers={"x-api-key": SETTINGS.api_key}) as state.http, work(state):
            yield
        await state.database.close()

    return FastAPI(lifespan=lifespan, dependencies=[Depends(check_key)]), state


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)
