"""Settings of a mail template, read from the `template.toml` of its folder."""

from __future__ import annotations

import re
import tomllib
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from services.communication.preferences.domain import Category

if TYPE_CHECKING:
    from pathlib import Path

FILE = "template.toml"
NEVER_EXPIRES = "ever"
_LIFETIME_FORM = re.compile(r"([1-9][0-9]{0,2}) (minute|hour|day)s?")


def _lifetime(value: object) -> timedelta | None:
    if value == NEVER_EXPIRES:
        return None
    form = _LIFETIME_FORM.fullmatch(str(value))
    if form is None:
        raise ValueError('must be a duration such as "30 minutes" or "7 days", or "ever"')
    return timedelta(**{f"{form[2]}s": int(form[1])})


class TemplateSettings(BaseModel):
    """Settings of one template.

    `in_doubt` is the action if it is unknown whether the mail was sent. `lifetime` is the time after which the mail is
    not sent; None means that the mail never expires. `example` has a value for each variable, for previews.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: Category
    in_doubt: Literal["repeat", "give up"]
    lifetime: Annotated[timedelta | None, BeforeValidator(_lifetime)]
    example: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the settings in the folder of a template; raise ValueError, with its key, if one is invalid."""
        try:
            text = (folder / FILE).read_text(encoding="utf-8")
            return cls.model_validate(tomllib.loads(text))
        except FileNotFoundError:
            raise ValueError(f"Template {folder.name}: {FILE} is missing.") from None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = ".".join(map(str, first["loc"]))
            reason = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            raise ValueError(f"Template {folder.name}: {FILE}: {name}: {reason}.") from None
        except ValueError as error:  # UnicodeDecodeError and TOMLDecodeError
            raise ValueError(f"Template {folder.name}: {FILE} is not TOML: {error}.") from None
