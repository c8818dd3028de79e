"""Words for dates, periods, amounts and statuses in the sentences of a story."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cli.gyms import LONDON

if TYPE_CHECKING:
    from datetime import datetime

    from contracts.errors import ServiceError
    from solo60.common.v1.money_pb2 import Money
    from solo60.common.v1.period_pb2 import Period

ZONE = ZoneInfo(LONDON)
SYMBOLS = {"GBP": "£", "EUR": "€"}


def day(time: datetime) -> str:
    """Return a day in London: "Sunday 22 November 2026"."""
    local = time.astimezone(ZONE)
    return f"{local:%A} {local.day} {local:%B %Y}"


def moment(time: datetime) -> str:
    """Return a time in London: "Sunday 22 November 2026, 19:00"."""
    return f"{day(time)}, {time.astimezone(ZONE):%H:%M}"


def slot(period: Period) -> str:
    """Return a period within a day in London: "Sunday 22 November 2026, 19:00 to 20:00"."""
    start, end = period.start_time.ToDatetime(UTC), period.end_time.ToDatetime(UTC)
    return f"{moment(start)} to {end.astimezone(ZONE):%H:%M}"


def price(money: Money) -> str:
    """Return an amount of money: "£12.50"."""
    symbol = SYMBOLS.get(money.currency_code, f"{money.currency_code} ")
    return f"{symbol}{money.minor_units // 100}.{money.minor_units % 100:02}"


def status(name: str) -> str:
    """Return the name of a status in a contract without the name of its type: "pending approval"."""
    return name.rpartition("STATUS_")[2].lower().replace("_", " ")


def facts_of_error(error: ServiceError) -> dict[str, str]:
    """Return the reason and the message of an error."""
    return {"error": error.reason_name(), "message": error.message}
