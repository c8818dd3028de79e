"""Dialog that asks for the caller and the scopes of a new key."""

from __future__ import annotations

from dataclasses import dataclass

from nicegui import ui

from contracts.scopes import all_scopes, scopes_of_caller
from contracts.services import SERVICE_NAMES
from local.keys import OPERATOR, default_scopes
from operations.keys import InvalidKeyRequest, require_caller_name


@dataclass(frozen=True, slots=True)
class WantedKey:
    """Caller and scopes of a key to issue."""

    caller: str
    scopes: frozenset[str]


class KeyForm:
    """Dialog with a form. `answer` opens it."""

    def __init__(self) -> None:
        with ui.dialog() as self._dialog, ui.card().classes("ask"), ui.element("div").classes("key-form"):
            ui.label("Issue a key").classes("title")
            ui.label("The key works at once, until it is revoked. Other keys of the caller stay valid.").classes("note")
            self._caller = ui.input("Caller", placeholder="billing", autocomplete=[*SERVICE_NAMES, OPERATOR])
            self._caller.props("outlined dense autofocus")
            self._preset = ui.select(
                {
                    "": "the scopes below",
                    **{name: f"the scopes of {name}" for name in SERVICE_NAMES},
                    OPERATOR: "every scope",
                },
                value="",
                label="Scopes of the key",
                on_change=self._use_preset,
            ).props("outlined dense")
            self._scopes = ui.select(sorted(all_scopes()), label="Scopes", multiple=True, value=[], clearable=True)
            self._scopes.props("outlined dense use-chips")
            with ui.element("div").classes("choices"):
                ui.button("Cancel", on_click=lambda: self._dialog.submit(None)).props("flat no-caps")
                ui.button("Issue", on_click=self._submit).props("unelevated no-caps")

    async def answer(self) -> WantedKey | None:
        """Return the chosen caller and scopes, or None if the reader cancels."""
        wanted = await self._dialog
        self._dialog.delete()
        return wanted if isinstance(wanted, WantedKey) else None

    def _use_preset(self) -> None:
        name = str(self._preset.value or "")
        if name:
            self._scopes.value = sorted(all_scopes() if name == OPERATOR else scopes_of_caller(name))

    def _submit(self) -> None:
        caller = str(self._caller.value or "").strip()
        scopes = frozenset(map(str, self._scopes.value or ())) or default_scopes(caller)
        try:
            require_caller_name(caller)
        except InvalidKeyRequest as error:
            self._caller.error = str(error)
            return
        self._caller.error = None
        if scopes is None:
            self._scopes.error = f'Choose the scopes of "{caller}". Only services have default scopes.'
            return
        self._dialog.submit(WantedKey(caller, scopes))
