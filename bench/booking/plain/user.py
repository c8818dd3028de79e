"""User service: one user by id."""

# No `from __future__ import annotations`: FastAPI evaluates annotations at run time.

import uuid

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from bench.booking.plain.application import application
from services.user.domain import State
from services.user.store import UserStore


class User(BaseModel):
    """User of GET /users/{user_id}."""

    email: str
    display_name: str
    time_zone: str
    is_active: bool


def make() -> FastAPI:
    """Return the user service."""
    app, state = application()

    async def get_user(user_id: uuid.UUID) -> User:
        found = await UserStore(state.database).find(user_id)
        if found is None:
            raise HTTPException(404)
        profile = found.profile
        return User(
            email=profile.email,
            display_name=profile.display_name,
            time_zone=profile.time_zone,
            is_active=profile.state is State.ACTIVE,
        )

    app.get("/users/{user_id}")(get_user)
    return app
