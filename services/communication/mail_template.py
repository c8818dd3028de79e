"""Templates: each mail's subject and text stand in a folder of its own, and are filled completely or not at all.

Two files of one line belong to each: the action when nobody knows whether the mail was sent ("repeat" or "give up"),
and how long the mail makes sense ("30 minutes", "7 days" or "ever").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from jinja2 import FileSystemLoader, StrictUndefined, Template, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from contracts.errors import TemplateNotFound, TemplateVariableMissing
from services.communication.shown_text import AsWritten, one_line, quoted, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

PARTS = ("subject.txt", "body.txt")
IN_DOUBT = "in_doubt.txt"
REPEATS = {"repeat": True, "give up": False}
LIFETIME = "makes_sense_for.txt"
FOR_EVER = "ever"
_LIFETIME_FORM = re.compile(r"([1-9][0-9]{0,2}) (minute|hour|day)s?")


@dataclass(frozen=True, slots=True)
class Text:
    """What a mail says: a subject of one line, and plain text."""

    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class MailTemplate:
    """One template and the names of all variables that it asks for.

    `repeats_in_doubt` says whether its mail is repeated in doubt. After `lifetime` the mail makes no sense; None: it
    always does.
    """

    key: str
    variables: frozenset[str]
    subject: Template
    body: Template
    repeats_in_doubt: bool
    lifetime: timedelta | None

    def expire_time(self, create_time: datetime) -> datetime | None:
        """Return when a mail that is made now stops making sense, if ever."""
        return None if self.lifetime is None else create_time + self.lifetime

    def fill(self, variables: Mapping[str, str]) -> Text:
        """Return the text; raise TemplateVariableMissing, naming each variable that `variables` lacks."""
        missing = sorted(self.variables - variables.keys())
        if missing:
            names = ", ".join(missing)
            raise TemplateVariableMissing(f"Template {self.key} also needs: {names}.", metadata={"variables": names})
        return Text(one_line(self.subject.render(variables)), self.body.render(variables))


class Templates:
    """All templates below a folder, read and checked when this is made.

    Raises ValueError, in a sentence that names the template, where one does not say what is done in doubt, or how long
    it makes sense.
    """

    def __init__(self, folder: Path) -> None:
        # Plain text: escaping for HTML would spoil it. `shown` keeps values from passing for text or links.
        environment = ImmutableSandboxedEnvironment(
            loader=FileSystemLoader(folder),
            undefined=StrictUndefined,
            autoescape=False,
            keep_trailing_newline=True,
            finalize=shown,
        )
        environment.filters |= {"quoted": quoted, "as_written": AsWritten}
        keys = sorted(path.parent.name for path in folder.glob(f"*/{PARTS[0]}"))
        self._by_key = {key: _read(environment, folder, key) for key in keys}

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all templates, in alphabetical order."""
        return tuple(self._by_key)

    def find(self, key: str) -> MailTemplate:
        """Return the template with this key; raise TemplateNotFound when there is none."""
        template = self._by_key.get(key)
        if template is None:
            raise TemplateNotFound(f"There is no template {key}.")
        return template


def _read(environment: ImmutableSandboxedEnvironment, folder: Path, key: str) -> MailTemplate:
    sources = [(folder / key / part).read_text(encoding="utf-8") for part in PARTS]
    variables = frozenset[str]().union(*(meta.find_undeclared_variables(environment.parse(text)) for text in sources))
    subject, body = (environment.get_template(f"{key}/{part}") for part in PARTS)
    return MailTemplate(key, variables, subject, body, _repeats_in_doubt(folder, key), _lifetime(folder, key))


def _repeats_in_doubt(folder: Path, key: str) -> bool:
    choice = _choice(folder / key / IN_DOUBT)
    if choice not in REPEATS:
        raise ValueError(f'Template {key}: {IN_DOUBT} must hold "repeat" or "give up".')
    return REPEATS[choice]


def _lifetime(folder: Path, key: str) -> timedelta | None:
    choice = _choice(folder / key / LIFETIME)
    if choice == FOR_EVER:
        return None
    form = _LIFETIME_FORM.fullmatch(choice)
    if form is None:
        raise ValueError(f'Template {key}: {LIFETIME} must hold a time such as "30 minutes" or "7 days", or "ever".')
    return timedelta(**{f"{form[2]}s": int(form[1])})


def _choice(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""
