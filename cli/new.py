"""`solo60 new`: new parts of the repository, written from templates."""

from __future__ import annotations

import builtins
import keyword
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.terminal import CommandError, err, out
from local.keys import OPERATOR
from local.parts import POSTGRES

if TYPE_CHECKING:
    from collections.abc import Mapping

TEMPLATE = Path(__file__).parent / "service_template"
CONTRACTS = Path("proto/solo60")
# Longer names would not fit into the lines of the template.
NAME = re.compile(r"[a-z]{2,16}")
# Names that make templates or a mesh wrong although the form of the name is right.
TAKEN = frozenset(
    {
        *("buf", "google"),  # the contract imports packages that begin with them
        "database",  # the store imports a class Database
        *("overlap", "reference"),  # SQL reserves their plurals
        *(OPERATOR, POSTGRES),  # a local mesh has a key or a part of this name
    }
)
DEFAULT_PORT = re.compile(r"\(solo60\.mesh\.v1\.default_port\) = (\d+);")

new = typer.Typer(help="Create new parts of this repository from templates.", no_args_is_help=True)


@new.callback()
def group() -> None:
    """Create new parts of this repository from templates."""


@new.command()
def service(name: Annotated[str, typer.Argument(metavar="NAME", help='One word in the singular: "trainer".')]) -> None:
    """Write the contract, the code, the first migration and a test of a new service. Run it in the repository's root.

    The service has one method, which lists the rows of one table.
    """
    if not CONTRACTS.is_dir():
        raise CommandError(f"There is no folder {CONTRACTS} here. Run this command in the root of the repository.")
    _reject_unusable(name)
    words = _words_of(name)
    written = {
        _target_of(path, words): _fill(path.read_text(encoding="utf-8"), words)
        for path in sorted(TEMPLATE.rglob("*.txt"))
    }
    for path in written:
        if path.exists():
            raise CommandError(f"{path} exists. Choose another name, or delete it.")
    _write_all(written)
    for path in written:
        out.print(str(path), markup=False)
    err.print("Next: `make gen`, then `make check`. `make run` starts the service too.", markup=False)


def _write_all(texts: Mapping[Path, str]) -> None:
    """Write all files, or none: after an error, delete those that were written."""
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            for each in texts:
                with suppress(OSError):  # the files that were not written
                    each.unlink()
            raise CommandError(f"{path}: cannot be written: {error.strerror}.") from None


def _reject_unusable(name: str) -> None:
    if not NAME.fullmatch(name):
        raise CommandError(f'"{name}" cannot name a service. Use 2 to 16 lower-case letters.')
    words = {name, name.capitalize(), _plural(name)}
    if any(keyword.iskeyword(word) or hasattr(builtins, word) for word in words) or name.startswith("test"):
        raise CommandError(f'"{name}" cannot name a service, because Python or pytest uses the word. Choose another.')
    if name in TAKEN:
        raise CommandError(f'"{name}" cannot name a service, because the mesh or SQL uses the word. Choose another.')
    if any((CONTRACTS / name).rglob("*.proto")):
        raise CommandError(f"{CONTRACTS / name} exists. Choose another name.")


def _words_of(name: str) -> dict[str, str]:
    """Return the words that replace <name>, <Name>, <names>, <Names> and <port> in the templates."""
    names = _plural(name)
    return {
        "name": name,
        "Name": name.capitalize(),
        "names": names,
        "Names": names.capitalize(),
        "port": str(_next_port()),
    }


def _target_of(template: Path, words: Mapping[str, str]) -> Path:
    path = template.relative_to(TEMPLATE).as_posix().removesuffix(".txt")
    return Path(path.replace("NAMES", words["names"]).replace("NAME", words["name"]))


def _fill(text: str, words: Mapping[str, str]) -> str:
    return re.sub(f"<({'|'.join(words)})>", lambda found: words[found[1]], text)


def _plural(name: str) -> str:
    if name.endswith(("s", "x", "z", "ch", "sh")):
        return f"{name}es"
    return f"{name[:-1]}ies" if re.search("[^aeiou]y$", name) else f"{name}s"


def _next_port() -> int:
    """Return the port after the highest one that a contract declares, whether its code is generated or not."""
    texts = (path.read_text(encoding="utf-8") for path in CONTRACTS.rglob("*.proto"))
    return 1 + max(int(port) for text in texts for port in DEFAULT_PORT.findall(text))
