"""Templates: each mail's subject and text stand in a folder of its own, and are filled completely or not at all.

Beside them stands, in one line, what is done when nobody knows whether the mail was sent: "repeat" or "give up".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import FileSystemLoader, StrictUndefined, Template, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from contracts.errors import TemplateNotFound, TemplateVariableMissing
from services.communication.shown_text import AsWritten, one_line, quoted, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PARTS = ("subject.txt", "body.txt")
IN_DOUBT = "in_doubt.txt"
REPEATS = {"repeat": True, "give up": False}


@dataclass(frozen=True, slots=True)
class Text:
    """What a mail says: a subject of one line, and plain text."""

    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class MailTemplate:
    """One template, the names of all variables that it asks for, and whether its mail is repeated when in doubt."""

    key: str
    variables: frozenset[str]
    subject: Template
    body: Template
    repeats_in_doubt: bool

    def fill(self, variables: Mapping[str, str]) -> Text:
        """Return the text; raise TemplateVariableMissing, naming each variable that `variables` lacks."""
        missing = sorted(self.variables - variables.keys())
        if missing:
            names = ", ".join(missing)
            raise TemplateVariableMissing(f"Template {self.key} also needs: {names}.", metadata={"variables": names})
        return Text(one_line(self.subject.render(variables)), self.body.render(variables))


class Templates:
    """All templates below a folder, read and checked when this is made.

    Raises ValueError, in a sentence that names the template, where one does not say what is done in doubt.
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
    return MailTemplate(key, variables, subject, body, _repeats_in_doubt(folder, key))


def _repeats_in_doubt(folder: Path, key: str) -> bool:
    path = folder / key / IN_DOUBT
    choice = path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""
    if choice not in REPEATS:
        raise ValueError(f'Template {key}: {IN_DOUBT} must hold "repeat" or "give up".')
    return REPEATS[choice]
