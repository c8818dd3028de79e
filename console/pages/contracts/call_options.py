"""Form for the options of a call: idempotency key, timeout, headers, and the service of a contract of the mesh."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nicegui import ui

from contracts.metadata import API_KEY, IDEMPOTENCY_KEY
from contracts.services import SERVICE_NAMES, SERVICES, short_service_name
from mesh.failure import Failure
from operations.calls.requests import parse_header
from operations.calls.traced_call import CallOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from contracts.method import Method

MIN_TIMEOUT_S = 0.001


class InvalidOption(Failure):
    """An option of a call has no valid value; the message names the option."""


class OptionsForm:
    """Form for the options of calls of `method`. Each change runs `changed`."""

    def __init__(self, method: Method, changed: Callable[[], None]) -> None:
        self._at = self._key = None
        if short_service_name(method.service) not in SERVICES:
            self._at = ui.select(list(SERVICE_NAMES), value=SERVICE_NAMES[0], label="Service", on_change=changed)
            self._at.props('outlined dense options-dense aria-label="Service"')
        with ui.element("details").classes("options"):
            with ui.element("summary"):
                ui.label("Options")
            if method.policy.idempotency_key_required:
                self._key = _input("Idempotency key", "Default: a new key for each call", changed)
            self._timeout = _input("Timeout in seconds", "Default: the deadline of the contract", changed)
            self._headers = ui.textarea("Headers", on_change=changed).props(
                'outlined dense autogrow spellcheck=false hint="One per line: name=value" aria-label="Headers"'
            )

    def read(self) -> CallOptions:
        """Return the options; raise InvalidOption for the first invalid one."""
        metadata = [_header(line) for line in str(self._headers.value or "").splitlines() if line.strip()]
        key = str(self._key.value or "").strip() if self._key is not None else ""
        if key:
            metadata.append(_header(f"{IDEMPOTENCY_KEY}={key}"))
        return CallOptions(tuple(metadata), _seconds(str(self._timeout.value or "")), self._service())

    def _service(self) -> str:
        return str(self._at.value) if self._at is not None else ""


def _input(label: str, hint: str, changed: Callable[[], None]) -> ui.input:
    field = ui.input(label, on_change=changed).props("outlined dense autocomplete=off stack-label")
    field.props["placeholder"] = hint
    field.props["aria-label"] = label
    return field


def _header(line: str) -> tuple[str, str]:
    try:
        name, value = parse_header(line.strip())
    except Failure as error:
        raise InvalidOption(f"Headers: {error}") from None
    if name == API_KEY:
        raise InvalidOption(f"Headers: the console sends {API_KEY} with the key of your session. Remove the header.")
    return name, value


def _seconds(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        timeout_s = float(text)
    except ValueError:
        timeout_s = math.nan
    if not MIN_TIMEOUT_S <= timeout_s < math.inf:
        raise InvalidOption(f"Timeout in seconds: must be a number of at least {MIN_TIMEOUT_S}, such as 2.5.")
    return timeout_s
