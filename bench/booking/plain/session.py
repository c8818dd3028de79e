"""Session service: hold the slot, charge the member, confirm, then mail."""

# No `from __future__ import annotations`: FastAPI evaluates annotations at run time.

import uuid
from datetime import UTC
from typing import Annotated, Any

import httpx
from fastapi import BackgroundTasks, FastAPI, Header, HTTPException
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel

from bench.booking.plain.application import SETTINGS, application, now
from bench.booking.plain.gym import QuoteAnswer
from bench.booking.plain.user import User
from contracts.errors import ServiceError
from mesh.formatting import format_time
from services.session.booking.domain import BookingCall
from services.session.booking.store import BookingStore
from services.session.sessions.domain import Order, PaymentMethod, Period, Quote, Session


class BookRequest(BaseModel):
    """Request of POST /sessions."""

    user_id: uuid.UUID
    gym_id: uuid.UUID
    start: AwareDatetime
    end: AwareDatetime


class Booked(BaseModel):
    """Response of POST /sessions."""

    session_id: uuid.UUID
    status: str


class NoFollowUps:
    """Follow-ups of the booking store that write nothing: the plain service calls the other services itself."""

    async def of_booking(self, *_: object) -> None:
        """Write nothing."""

    of_release = of_booking


def make() -> FastAPI:
    """Return the session service: hold, charge, confirm, then mail."""
    app, state = application()

    async def book(
        request: BookRequest, background: BackgroundTasks, idempotency_key: Annotated[str, Header()]
    ) -> Booked:
        store = BookingStore(state.database, NoFollowUps())  # type: ignore[arg-type]  # it has the methods in use
        call = BookingCall("plain", idempotency_key, b"", "")
        member = User(**await _get(f"{SETTINGS.user_url}/users/{request.user_id}"))
        if not member.is_active:
            raise HTTPException(409)
        body = {"start": request.start.isoformat(), "end": request.end.isoformat()}
        quoted = QuoteAnswer(**await _post(f"{SETTINGS.gym_url}/gyms/{request.gym_id}/quote", body))
        quote = Quote(**quoted.model_dump(exclude={"gym_name"}))
        period = Period(request.start.astimezone(UTC), request.end.astimezone(UTC))
        order = Order(request.user_id, request.gym_id, period, PaymentMethod.CREDITS)
        held = (await store.hold(order, quote, call, now=now(), expire_time=now())).session
        try:
            await _post(f"{SETTINGS.payment_url}/charges", _charge(held))
        except httpx.HTTPError:
            await store.release(held.session_id, now=now())
            raise
        booking = await store.confirm(held.session_id, lambda _: b"booked", now=now())
        if booking is None:
            raise HTTPException(409)
        mail = _mail(booking.session, member, quoted)
        background.add_task(_post, f"{SETTINGS.communication_url}/emails", mail)
        return Booked(session_id=held.session_id, status=booking.session.status)

    async def _get(url: str) -> dict[str, Any]:
        answer = (await state.http.get(url)).raise_for_status()
        return dict(answer.json())

    async def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = (await state.http.post(url, json=body)).raise_for_status()
        return dict(answer.json())

    async def refuse(_: object, error: ServiceError) -> JSONResponse:
        return JSONResponse({"reason": error.reason_name()}, status_code=409)

    app.exception_handler(ServiceError)(refuse)
    app.post("/sessions")(book)
    return app


def _charge(held: Session) -> dict[str, Any]:
    return {
        "session_id": str(held.session_id),
        "user_id": str(held.order.user_id),
        "currency": held.quote.currency,
        "minor_units": held.quote.minor_units,
        "credits": held.quote.credits,
    }


def _mail(booked: Session, member: User, quoted: QuoteAnswer) -> dict[str, Any]:
    period = booked.order.period
    variables = {
        "session_id": str(booked.session_id),
        "member_name": member.display_name,
        "gym_name": quoted.gym_name,
        "start_time": format_time(period.start, member.time_zone),
        "end_time": format_time(period.end, member.time_zone),
        "price": f"{booked.quote.credits} credits",
    }
    return {
        "email": member.email,
        "name": member.display_name,
        "template_key": "SESSION_BOOKED",
        "variables": variables,
    }
