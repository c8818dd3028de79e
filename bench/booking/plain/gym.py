"""Gym service: the price of a period."""

# No `from __future__ import annotations`: FastAPI evaluates annotations at run time.

import uuid
from datetime import UTC

from fastapi import FastAPI, HTTPException
from pydantic import AwareDatetime, BaseModel, Field

from bench.booking.plain.application import application
from services.gym.domain import Period
from services.gym.store import GymStore


class QuoteRequest(BaseModel):
    """Request of POST /gyms/{gym_id}/quote."""

    start: AwareDatetime
    end: AwareDatetime


class QuoteAnswer(BaseModel):
    """Price and rules of a period."""

    gym_name: str
    currency: str
    minor_units: int
    credits: int = Field(gt=0)
    noise_policy: str
    requires_approval: bool


def make() -> FastAPI:
    """Return the gym service."""
    app, state = application()

    async def quote(gym_id: uuid.UUID, request: QuoteRequest) -> QuoteAnswer:
        found = await GymStore(state.database).find(gym_id)
        if found is None:
            raise HTTPException(404)
        price = found.quote(Period(request.start.astimezone(UTC), request.end.astimezone(UTC)))
        return QuoteAnswer(
            gym_name=found.properties.name,
            currency=found.properties.currency_code,
            minor_units=price.minor_units,
            credits=price.credits,
            noise_policy=found.properties.noise_policy,
            requires_approval=found.properties.requires_approval,
        )

    app.post("/gyms/{gym_id}/quote")(quote)
    return app
