"""Conversion between protobuf messages and the domain of the gym service.

`parse_` functions return domain values, `render_` functions return messages.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING

from contracts.errors import Violation
from mesh.data.etags import etag_of
from mesh.serving.request_rules import require, time_zone_known
from services.gym import domain
from solo60.common.v1.money_pb2 import Money
from solo60.gym.v1.events_pb2 import WaitingListModeChanged
from solo60.gym.v1.gym_pb2 import Gym, OpeningHours, Quote, WaitingListMode

if TYPE_CHECKING:
    from solo60.common.v1.period_pb2 import Period
    from solo60.gym.v1.gym_pb2 import CreateGymRequest, UpdateGymRequest


def parse_properties(request: CreateGymRequest) -> domain.GymProperties:
    """Return the properties in a request; raise InvalidRequest for an unknown time zone or a price above the limit."""
    require(
        time_zone_known("time_zone", request.time_zone),
        _price_within_limit("price_per_hour.minor_units", request.price_per_hour.minor_units),
        _price_within_limit("credits_per_hour", request.credits_per_hour),
    )
    return domain.GymProperties(
        name=request.name,
        time_zone=request.time_zone,
        currency_code=request.price_per_hour.currency_code,
        minor_units_per_hour=request.price_per_hour.minor_units,
        credits_per_hour=request.credits_per_hour,
        noise_policy=request.noise_policy,
        opening_hours=_parse_hours(request.opening_hours) if request.HasField("opening_hours") else domain.ALWAYS_OPEN,
        requires_approval=request.requires_approval,
        waiting_list_mode=_parse_mode(request.waiting_list_mode or WaitingListMode.WAITING_LIST_MODE_NOTIFY_ALL),
    )


def parse_changed_properties(request: UpdateGymRequest, properties: domain.GymProperties) -> domain.GymProperties:
    """Return `properties` with the fields in the update mask changed.

    Raises InvalidRequest for an unknown time zone or a price above the limit.
    """
    gym, named = request.gym, set(request.update_mask.paths)
    price = gym.price_per_hour
    require(
        time_zone_known("gym.time_zone", gym.time_zone) if "time_zone" in named else None,
        _price_within_limit("gym.price_per_hour.minor_units", price.minor_units),
        _price_within_limit("gym.credits_per_hour", gym.credits_per_hour),
    )
    changes = {
        "name": {"name": gym.name},
        "time_zone": {"time_zone": gym.time_zone},
        "price_per_hour": {"currency_code": price.currency_code, "minor_units_per_hour": price.minor_units},
        "credits_per_hour": {"credits_per_hour": gym.credits_per_hour},
        "noise_policy": {"noise_policy": gym.noise_policy},
        "opening_hours": {"opening_hours": _parse_hours(gym.opening_hours)},
        "requires_approval": {"requires_approval": gym.requires_approval},
        "waiting_list_mode": {"waiting_list_mode": _parse_mode(gym.waiting_list_mode)} if gym.waiting_list_mode else {},
    }
    for path in named:
        properties = replace(properties, **changes[path])  # type: ignore[arg-type]  # each value has its field's type
    return properties


def parse_period(message: Period) -> domain.Period:
    """Return a period in UTC; raise InvalidRequest if it is not within the years 2 to 9998."""
    start, end = message.start_time.ToDatetime(UTC), message.end_time.ToDatetime(UTC)
    require(_within_calendar("period.start_time", start.year), _within_calendar("period.end_time", end.year))
    return domain.Period(start, end)


def render_gym(gym: domain.Gym) -> Gym:
    """Return the protobuf message of a gym."""
    properties = gym.properties
    message = Gym(
        gym_id=str(gym.gym_id),
        name=properties.name,
        time_zone=properties.time_zone,
        price_per_hour=Money(currency_code=properties.currency_code, minor_units=properties.minor_units_per_hour),
        credits_per_hour=properties.credits_per_hour,
        noise_policy=properties.noise_policy,
        opening_hours=OpeningHours(
            opens_minute=properties.opening_hours.opens_minute, closes_minute=properties.opening_hours.closes_minute
        ),
        requires_approval=properties.requires_approval,
        waiting_list_mode=_render_mode(properties.waiting_list_mode),
    )
    message.create_time.FromDatetime(gym.create_time)
    message.update_time.FromDatetime(gym.update_time)
    message.etag = etag_of(message)
    return message


def render_mode_changed(gym: domain.Gym) -> WaitingListModeChanged:
    """Return the event that a gym announces free slots in its present mode."""
    return WaitingListModeChanged(
        gym_id=str(gym.gym_id), waiting_list_mode=_render_mode(gym.properties.waiting_list_mode)
    )


def render_quote(gym: domain.Gym, quote: domain.Quote) -> Quote:
    """Return the protobuf message of a quote, with the rules of the gym."""
    return Quote(
        price=Money(currency_code=gym.properties.currency_code, minor_units=quote.minor_units),
        credits=quote.credits,
        noise_policy=gym.properties.noise_policy,
        requires_approval=gym.properties.requires_approval,
    )


def _parse_hours(hours: OpeningHours) -> domain.OpeningHours:
    return domain.OpeningHours(hours.opens_minute, hours.closes_minute)


def _parse_mode(mode: WaitingListMode.ValueType) -> domain.WaitingListMode:
    return domain.WaitingListMode[WaitingListMode.Name(mode).removeprefix("WAITING_LIST_MODE_")]


def _render_mode(mode: domain.WaitingListMode) -> WaitingListMode.ValueType:
    return WaitingListMode.Value(f"WAITING_LIST_MODE_{mode.name}")


def _price_within_limit(field: str, per_hour: int) -> Violation | None:
    if per_hour <= domain.MAX_HOURLY_PRICE:
        return None
    return Violation(field, f"must be at most {domain.MAX_HOURLY_PRICE}, so that a 12-hour price fits into 64 bits")


def _within_calendar(field: str, year: int) -> Violation | None:
    # datetime covers the years 1 to 9999, and conversion to local time near either end would overflow.
    return None if 1 < year < 9999 else Violation(field, "must be in the years 2 to 9998")  # noqa: PLR2004 - the limits of datetime
