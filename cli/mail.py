"""`solo60 mail`: previews of the mails that members get, without a running mesh."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Annotated

import typer
from jinja2 import Environment
from rich.table import Table

from cli.terminal import CommandError, err, print_table
from contracts.errors import TemplateNotFound
from services.communication.mail_template import TEMPLATES, Templates

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.communication.mail_template import MailTemplate, Text

EXAMPLE_LINK = "https://mail.solo60.example/unsubscribe/EXAMPLE"
INDEX = Environment(autoescape=True, trim_blocks=True).from_string("""\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Mails of Solo60</title>
<style>
:root { color-scheme: light dark; }
body { margin: 24px; font: 16px/1.5 system-ui, sans-serif; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(360px, 100%), 1fr)); gap: 24px; }
figure { margin: 0; }
iframe { box-sizing: border-box; width: 100%; height: 520px; border: 1px solid #888; }
</style>
<h1>Mails of Solo60</h1>
<main>
{% for template, text in mails %}
<figure>
<figcaption><a href="{{ template.key }}.html">{{ template.key }}</a> ({{ template.settings.category }},
<a href="{{ template.key }}.txt">text</a>)<br>{{ text.subject }}</figcaption>
<iframe src="{{ template.key }}.html" title="{{ template.key }}" loading="lazy"></iframe>
</figure>
{% endfor %}
</main>
</html>
""")

mail = typer.Typer(help="Preview the mails that members get.", no_args_is_help=True)


# Without a callback, Typer would make the only command the group itself.
@mail.callback()
def _group() -> None:
    """Preview the mails that members get."""


@mail.command()
def preview(
    key: Annotated[str | None, typer.Argument(metavar="TEMPLATE", help="Template key. Without it: all.")] = None,
    *,
    html: Annotated[bool, typer.Option("--html/--text", help="Print the HTML or the text.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Write text, HTML and an index page to a folder.")
    ] = None,
    is_opened: Annotated[bool, typer.Option("--open", help="Open the HTML in the browser.")] = False,
) -> None:
    """Show a mail with example values, or list all templates. No mesh needs to run."""
    templates = Templates(TEMPLATES)
    chosen = list(templates) if key is None else [_find(templates, key)]
    mails = [(template, _example_of(template)) for template in chosen]
    if folder is not None or is_opened:
        page = _write(mails, folder or Path(mkdtemp(prefix="solo60-mail-")))
        err.print(f"Written: {page}", markup=False)
        if is_opened and typer.launch(str(page), wait=True) != 0:
            raise CommandError("No browser could be started. Open the page above by hand.")
    elif key is None:
        print_table(_table(mails))
    else:
        ((_, text),) = mails
        typer.echo(text.html if html else f"Subject: {text.subject}\n\n{text.body}", nl=False)


def _find(templates: Templates, key: str) -> MailTemplate:
    try:
        return templates.find(key)
    except TemplateNotFound:
        raise CommandError(f'There is no template "{key}". `solo60 mail preview` lists all of them.') from None


def _example_of(template: MailTemplate) -> Text:
    link = EXAMPLE_LINK if template.settings.category.is_switchable else None
    return template.fill(template.settings.example, link)


def _write(mails: list[tuple[MailTemplate, Text]], folder: Path) -> Path:
    """Write all mails and an index page to `folder`; return the path of the page to look at."""
    folder.mkdir(parents=True, exist_ok=True)
    for template, text in mails:
        (folder / f"{template.key}.html").write_text(text.html, encoding="utf-8")
        (folder / f"{template.key}.txt").write_text(f"Subject: {text.subject}\n\n{text.body}", encoding="utf-8")
    index = folder / "index.html"
    index.write_text(INDEX.render(mails=mails), encoding="utf-8")
    return (folder / f"{mails[0][0].key}.html" if len(mails) == 1 else index).resolve()


def _table(mails: Iterable[tuple[MailTemplate, Text]]) -> Table:
    table = Table("template", "category", "subject of the example", box=None, pad_edge=False)
    for template, text in mails:
        table.add_row(template.key, template.settings.category, text.subject)
    return table
