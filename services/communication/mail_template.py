"""Mail templates: a folder per mail, with its subject, its text in two forms, and its settings.

`subject.txt` and `body.txt` are plain text. `body.html` extends `layout.html` and says the same. `template.toml` has
the settings. A template with missing variables is not rendered.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import FileSystemLoader, StrictUndefined, Template, meta, select_autoescape
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from contracts.errors import TemplateNotFound, TemplateVariableMissing
from services.communication.sanitize import AsWritten, one_line, quoted, sanitize
from services.communication.template_settings import TemplateSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
PARTS = ("subject.txt", "body.txt", "body.html")


@dataclass(frozen=True, slots=True)
class Text:
    """Filled template: a subject of one line, and a body in plain text and in HTML.

    `unsubscribe_link` switches off the category of the mail, if it can be switched off. Both bodies contain the link.
    """

    subject: str
    body: str
    html: str
    unsubscribe_link: str | None = None


@dataclass(frozen=True, slots=True)
class MailTemplate:
    """Template of one mail, with the names of all its variables."""

    key: str
    variables: frozenset[str]
    subject: Template
    body: Template
    html: Template
    settings: TemplateSettings

    @property
    def repeats_in_doubt(self) -> bool:
        """Whether the mail is sent again after an attempt with an unknown outcome."""
        return self.settings.in_doubt == "repeat"

    def expire_time(self, create_time: datetime) -> datetime | None:
        """Return the expiry of a mail created at `create_time`; None if it never expires."""
        return None if self.settings.lifetime is None else create_time + self.settings.lifetime

    def fill(self, variables: Mapping[str, str], unsubscribe_link: str | None = None) -> Text:
        """Return the filled template; raise TemplateVariableMissing with the names of all missing variables."""
        missing = sorted(self.variables - variables.keys())
        if missing:
            names = ", ".join(missing)
            raise TemplateVariableMissing(
                f"Template {self.key}: missing variables: {names}.", metadata={"variables": names}
            )
        used = {name: variables[name] for name in self.variables}
        subject = one_line(self.subject.render(used))
        body, frame = self.body.render(used), {"subject": subject, "unsubscribe_link": None}
        if unsubscribe_link is not None:
            label = self.settings.category.label
            body += f"\n--\nUnsubscribe from {label}: {unsubscribe_link}\n"
            frame |= {"unsubscribe_link": AsWritten(unsubscribe_link), "unsubscribe_label": label}
        return Text(subject, body, self.html.render(used | frame), unsubscribe_link)


class Templates:
    """All templates in a folder, read and checked on creation.

    Raises ValueError with the template's key if a file is missing or its template.toml is invalid.
    """

    def __init__(self, folder: Path) -> None:
        # Values are escaped in HTML only: in plain text, escaping would corrupt them. `sanitize` makes the values safe
        # in both.
        environment = ImmutableSandboxedEnvironment(
            loader=FileSystemLoader([folder, TEMPLATES]),  # the second one for the layout
            undefined=StrictUndefined,
            autoescape=select_autoescape(["html"], default=False),
            keep_trailing_newline=True,
            trim_blocks=True,
            finalize=sanitize,
        )
        environment.filters |= {"quoted": quoted, "as_written": AsWritten}
        parts = vars(environment.get_template("parts.html").module)
        environment.globals |= {name: part for name, part in parts.items() if isinstance(part, Macro)}
        folders = sorted(path for path in folder.iterdir() if path.is_dir())
        self._by_key = {each.name: _read(environment, each) for each in folders}

    def __iter__(self) -> Iterator[MailTemplate]:
        """Iterate over all templates, in the order of their keys."""
        return iter(self._by_key.values())

    def find(self, key: str) -> MailTemplate:
        """Return the template with this key; raise TemplateNotFound."""
        template = self._by_key.get(key)
        if template is None:
            raise TemplateNotFound(f"Template {key} does not exist.")
        return template


def _read(environment: ImmutableSandboxedEnvironment, folder: Path) -> MailTemplate:
    for part in PARTS:
        if not (folder / part).is_file():
            raise ValueError(f"Template {folder.name}: {part} is missing.")
    variables = frozenset[str]().union(*(variables_in(environment, folder / part) for part in PARTS))
    subject, body, html = (environment.get_template(f"{folder.name}/{part}") for part in PARTS)
    return MailTemplate(folder.name, variables, subject, body, html, TemplateSettings.read(folder))


def variables_in(environment: Environment, file: Path) -> set[str]:
    """Return the names of the variables in one file of a template."""
    source = environment.parse(file.read_text(encoding="utf-8"))
    return meta.find_undeclared_variables(source) - environment.globals.keys()
