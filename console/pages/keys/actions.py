"""Actions on API keys: issue, rotate and revoke. They need a key with every scope, ask first, and are logged.

A new key is shown once, or written to the key file of its caller. It is never logged.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, cast

import structlog
from nicegui import ui

from console import widgets
from console.guard import login_address
from console.pages.keys.form import KeyForm
from mesh.failure import Failure
from operations.keys import (
    RELOADED_S,
    VALID,
    NotAManager,
    issue_key,
    require_manager,
    revoke_key,
    rotate_key,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from console.frame import View
    from interceptors.keys.keyring import KeyRecord
    from operations.keys import KeyInfo, NewKey

OVERLAPS = {1: "1 hour", 24: "24 hours", 7 * 24: "7 days", 30 * 24: "30 days"}
DEFAULT_OVERLAP_H = 24

_log = structlog.stdlib.get_logger("solo60.console")


class KeyActions:
    """Buttons and dialogs of one page. `changed` runs after each action."""

    def __init__(self, view: View, changed: Callable[[], Awaitable[None]]) -> None:
        self._view = view
        self._changed = changed
        # The table is drawn again while a dialog is open, so dialogs are not a part of it.
        self._dialogs = ui.element("div")

    def issue_button(self) -> None:
        """Show the button that issues a key."""
        self._button("Issue a key", self._issue).props("unelevated", remove="outline")

    def buttons(self, key: KeyInfo, all_keys: Sequence[KeyInfo]) -> None:
        """Show the buttons for one key."""
        if key.state != VALID:
            return
        valid = [each for each in all_keys if each.state == VALID and each.record.caller == key.record.caller]
        with ui.element("div").classes("key-actions"):
            if key is max(valid, key=lambda each: each.record.not_before):
                self._button("Rotate", partial(self._rotate, key.record.caller))
            self._button("Revoke", partial(self._revoke, key.record, is_last=len(valid) == 1))

    def hint(self) -> None:
        """Show the reason if the reader cannot act."""
        refusal = self._refusal()
        if refusal:
            with ui.element("div").classes("row-line note key-hint"):
                ui.label(refusal)
                if not self._view.reader.is_signed_in:
                    ui.link("Sign in", login_address(self._view.address))

    def _button(self, name: str, act: Callable[[], Awaitable[None]]) -> ui.button:
        button = ui.button(name, on_click=act).props("outline dense no-caps")
        refusal = self._refusal()
        if refusal:
            button.disable()
            button.tooltip(refusal)
        return button

    def _refusal(self) -> str:
        try:
            require_manager(self._manager())
        except NotAManager as error:
            return str(error)
        return ""

    def _manager(self) -> KeyRecord | None:
        """Return the record of the reader's key, or None if it is no longer valid."""
        return self._view.console.record_of(self._view.reader.key.get_secret_value())

    async def _issue(self) -> None:
        with self._dialogs:
            form = KeyForm()
        wanted = await form.answer()
        if wanted is not None:

            def issue(manager: KeyRecord) -> NewKey:
                require_manager(manager, wanted.scopes)
                return issue_key(self._view.console.settings, wanted.caller, wanted.scopes)

            await self._act_with_new_key("issue key", wanted.caller, issue)

    async def _rotate(self, caller: str) -> None:
        with self._dialogs, ui.dialog() as dialog, ui.card().classes("ask"):
            ui.label(f"Rotate the key of {caller}?").classes("title")
            ui.label(
                "The caller gets a new key with the same scopes. Its older keys stay valid for the overlap, so that "
                "no call fails meanwhile."
            ).classes("note")
            overlap_h = ui.select(OVERLAPS, value=DEFAULT_OVERLAP_H, label="Overlap").props("outlined dense")
            with ui.element("div").classes("choices"):
                ui.button("Cancel", on_click=lambda: dialog.submit(None)).props("flat no-caps")
                ui.button("Rotate", on_click=lambda: dialog.submit(overlap_h.value)).props("unelevated no-caps")
        chosen_h = await dialog
        dialog.delete()
        if chosen_h is not None:
            overlap = timedelta(hours=chosen_h)

            def rotate(manager: KeyRecord) -> NewKey:
                return rotate_key(self._view.console.settings, caller, overlap, manager)

            await self._act_with_new_key("rotate key", caller, rotate)

    async def _revoke(self, record: KeyRecord, *, is_last: bool) -> None:
        question = f"Calls with the key {record.key_id} of {record.caller} fail from now on. This cannot be undone."
        if is_last:
            question += f" It is the only valid key of {record.caller}."
        manager = self._manager()
        if manager is not None and manager.key_id == record.key_id:
            question += " You are signed in with this key."
        with self._dialogs:
            is_sure = await widgets.confirmed("Revoke the key?", question, "Revoke")
        if is_sure:

            def revoke(_manager: KeyRecord) -> str:
                revoke_key(self._view.console.settings, record.key_id, spare_last_manager=True)
                return record.key_id

            if await self._act("revoke key", record.caller, revoke):
                ui.notify(f"{record.key_id} is revoked.", type="positive")
                await self._changed()

    async def _act_with_new_key(self, name: str, caller: str, make: Callable[[KeyRecord], NewKey]) -> None:
        new: list[NewKey] = []

        def make_once(manager: KeyRecord) -> str:
            new.append(make(manager))
            return new[0].key_id

        if not await self._act(name, caller, make_once):
            return
        [key] = new
        ui.notify(f"{key.key_id} works for all services in {RELOADED_S:g} s. Please wait.", timeout=1000 * RELOADED_S)
        await asyncio.sleep(RELOADED_S)
        if key.file is None:
            await self._show_once(key)
        else:
            await self._write(key)
        await self._changed()

    async def _write(self, key: NewKey) -> None:
        try:
            await asyncio.to_thread(key.write)
        except OSError as error:
            _log.warning("key file cannot be written", file=str(key.file), error=error.strerror)
            text = f"{key.file} cannot be written: {error.strerror}. Revoke {key.key_id}, which nobody has."
            ui.notify(text, type="negative", timeout=10_000)
        else:
            ui.notify(f"{key.file} contains the new key of {key.caller}.", type="positive", timeout=10_000)

    async def _act(self, name: str, caller: str, act: Callable[[KeyRecord], str]) -> bool:
        """Run `act`, which returns the id of the changed key, for a reader who may manage keys; return its success."""
        facts = {"action": name, "key_owner": caller, "caller": self._view.reader.caller}
        manager = self._manager()
        try:
            require_manager(manager)
            key_id = await asyncio.to_thread(act, cast("KeyRecord", manager))
        except Failure as error:
            _log.warning("action failed", **facts, reason=str(error))
            ui.notify(str(error), type="negative", timeout=10_000)
            return False
        _log.info("action", **facts, target=key_id)
        return True

    async def _show_once(self, key: NewKey) -> None:
        text = key.key.get_secret_value()
        with self._dialogs, ui.dialog().props("persistent") as dialog, ui.card().classes("ask key-form"):
            ui.label(f"New key of {key.caller}").classes("title")
            ui.label(
                "Copy it now: it is shown only here and only once, and the keyring holds only its hash. Give it to the "
                "caller as SERVICE_API_KEY, or in a file that SERVICE_API_KEY_FILE names."
            ).classes("note")
            widgets.mono(text).classes("new-key").props('aria-label="New key"')
            with ui.element("div").classes("choices"):
                copy = ui.button("Copy", icon="content_copy", on_click=lambda: ui.clipboard.write(text))
                copy.props("outline no-caps")
                ui.button("Done", on_click=lambda: dialog.submit(None)).props("unelevated no-caps")
        await dialog
        dialog.delete()
