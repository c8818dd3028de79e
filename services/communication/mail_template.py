"""Mail templates: a folder per mail, with its subject and its text. A template with missing variables is not rendered.

Each folder has two more files of one line. `in_doubt.txt` is the action if it is unknown whether the mail was sent:
"repeat" or "give up". `lifetime.txt` is the lifetime of the mail: "30 minutes", "7 days" or "ever".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from jinja2 import FileSystemLoader, StrictUndefined, Template, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from contracts.errors import TemplateNotFound, TemplateVariableMissing
from services.communication.sanitize import AsWritten, one_line, quoted, sanitize

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

PARTS = ("subject.txt", "body.txt")
IN_DOUBT = "in_doubt.txt"
REPEATS = {"repeat": True, "give up": False}
LIFETIME = "lifetime.txt"
NEVER_EXPIRES = "ever"
_LIFETIME_FORM = re.compile(r"([1-9][0-9]{0,2}) (minute|hour|day)s?")


@dataclass(frozen=True, slots=True)
class Text:
    """Filled template: a subject of one line, and a body in plain text."""

    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class MailTemplate:
    """Template of one mail, with the names of all its variables.

    `repeats_in_doubt` says whether the mail is sent again after an attempt with an unknown outcome. The mail expires
    after `lifetime`. None means that it never expires.
    """

    key: str
    variables: frozenset[str]
    subject: Template
    body: Template
    repeats_in_doubt: bool
    lifetime: timedelta | None

    def expire_time(self, create_time: datetime) -> datetime | None:
        """Return the expiry of a mail created at `create_time`; None if it never expires."""
        return None if self.lifetime is None else create_time + self.lifetime

    def fill(self, variables: Mapping[str, str]) -> Text:
        """Return the filled template; raise TemplateVariableMissing with the names of all missing variables."""
        missing = sorted(self.variables - variables.keys())
        if missing:
            names = ", ".join(missing)
            raise TemplateVariableMissing(
                f"Template {self.key}: missing variables: {names}.", metadata={"variables": names}
            )
        return Text(one_line(self.subject.render(variables)), self.body.render(variables))


class Templates:
    """All templates in a folder, read and checked on creation.

    Raises ValueError with the template's key if its in_doubt.txt or lifetime.txt is missing or invalid.
    """

    def __init__(self, folder: Path) -> None:
        # Mails are plain text, so HTML escaping would corrupt them. `sanitize` makes the values safe instead.
        environment = ImmutableSandboxedEnvironment(
            loader=FileSystemLoader(folder),
            undefined=StrictUndefined,
            autoescape=False,
            keep_trailing_newline=True,
            finalize=sanitize,
        )
        environment.filters |= {"quoted": quoted, "as_written": AsWritten}
        keys = sorted(path.parent.name for path in folder.glob(f"*/{PARTS[0]}"))
        self._by_key = {key: _read(environment, folder, key) for key in keys}

    def find(self, key: str) -> MailTemplate:
        """Return the template with this key; raise TemplateNotFound."""
        template = self._by_key.get(key)
        if template is None:
            raise TemplateNotFound(f"Template {key} does not exist.")
        return template


def _read(environment: ImmutableSandboxedEnvironment, folder: Path, key: str) -> MailTemplate:
    sources = [(folder / key / part).read_text(encoding="utf-8") for part in PARTS]
    variables = frozenset[str]().union(*(meta.find_undeclared_variables(environment.parse(text)) for text in sources))
    subject, body = (environment.get_template(f"{key}/{part}") for part in PARTS)
    return MailTemplate(key, variables, subject, body, _repeats_in_doubt(folder, key), _lifetime(folder, key))


def _repeats_in_doubt(folder: Path, key: str) -> bool:
    choice = _choice(folder / key / IN_DOUBT)
    if choice not in REPEATS:
        raise ValueError(f'Template {key}: {IN_DOUBT} must contain "repeat" or "give up".')
    return REPEATS[choice]


def _lifetime(folder: Path, key: str) -> timedelta | None:
    choice = _choice(folder / key / LIFETIME)
    if choice == NEVER_EXPIRES:
        return None
    form = _LIFETIME_FORM.fullmatch(choice)
    if form is None:
        raise ValueError(
            f'Template {key}: {LIFETIME} must contain a duration such as "30 minutes" or "7 days", or "ever".'
        )
    return timedelta(**{f"{form[2]}s": int(form[1])})


def _choice(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""
