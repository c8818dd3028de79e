"""Unique values for personal fields of requests, and a search for them in files."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from contracts.redaction import is_personal

if TYPE_CHECKING:
    from pathlib import Path

    from google.protobuf.message import Message


class Canaries:
    """Source of canaries for one test: unique values with a common mark and their own numbers."""

    def __init__(self) -> None:
        self.mark = f"canary{uuid4().hex[:12]}"
        self._numbers = count(1)

    def text(self) -> str:
        """Return a canary for a name, a code or a token."""
        return f"{self.mark}-{next(self._numbers)}-tweet"

    def email(self) -> str:
        """Return a canary that is an email address."""
        return f"{self.text()}@solo60.example"

    def plant(self, message: Message) -> None:
        """Fill every personal field of `message`, at any depth, with a new canary."""
        for field in message.DESCRIPTOR.fields:
            if is_personal(field):
                self._fill(message, field)
            elif field.message_type is not None and not field.is_repeated and _holds_personal(field.message_type):
                self.plant(getattr(message, field.name))

    def _fill(self, message: Message, field: Any) -> None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)["member_name"] = self.text()
        elif field.is_repeated:
            getattr(message, field.name).append(self.text())
        elif field.type == field.TYPE_BYTES:
            setattr(message, field.name, self.text().encode())
        elif field.type == field.TYPE_STRING:
            setattr(message, field.name, self.email() if "email" in field.name else self.text())


def _holds_personal(message: Any) -> bool:
    nested = [field.message_type for field in message.fields if field.message_type not in (None, message)]
    return any(map(is_personal, message.fields)) or any(map(_holds_personal, nested))


def files_containing(folder: Path, secrets: list[str], *, allowed_folders: frozenset[str]) -> dict[str, list[str]]:
    """Return the files below `folder` that contain any of `secrets`, except in the subfolders `allowed_folders`."""
    found: dict[str, list[str]] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if name.split("/")[0] in allowed_folders or not path.is_file():
            continue
        content = path.read_bytes()
        leaked = [secret for secret in secrets if secret.encode() in content]
        if leaked:
            found[name] = leaked
    return found
