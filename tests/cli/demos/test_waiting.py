"""Waiting for results, for expected errors and for mails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from cli.demos.evidence import Inbox
from cli.demos.story import Person
from cli.demos.waiting import refusal, until
from cli.terminal import CommandError
from contracts.errors import GymNotFound, SlotTaken
from mesh.config import Settings

if TYPE_CHECKING:
    from pathlib import Path

GRACE = Person("Grace Demo", "grace@solo60.example")


async def test_waiting_ends_with_the_first_complete_result() -> None:
    """The result is read again until it is complete."""
    results = iter([1, 2, 3])

    async def read() -> int:
        return next(results)

    assert await until(read, lambda found: found == 2, "two") == 2


async def test_waiting_gives_up_and_says_for_what() -> None:
    """A result that never becomes complete is an error that names it."""

    async def read() -> int:
        return 0

    with pytest.raises(CommandError, match="Timed out after 0 s waiting for one mail"):
        await until(read, bool, "one mail", timeout_s=0)


async def test_a_call_must_fail_with_the_expected_error() -> None:
    """The expected error is returned. Another error is raised, and success is an error."""

    async def fail() -> None:
        raise SlotTaken

    async def succeed() -> None:
        pass

    assert isinstance(await refusal(fail(), SlotTaken), SlotTaken)
    with pytest.raises(SlotTaken):
        await refusal(fail(), GymNotFound)
    with pytest.raises(CommandError, match="A call succeeded that should have failed with SlotTaken"):
        await refusal(succeed(), SlotTaken)


async def test_without_the_mail_sink_no_mail_is_waited_for(tmp_path: Path) -> None:
    """If an external server gets the mails, a story shows none, or fails at once if it needs them."""
    settings = Settings(_env_file=None, data_dir=tmp_path, smtp_url=SecretStr("smtp://mail.solo60.example:25"))  # type: ignore[call-arg]
    inbox = Inbox(settings)

    assert await inbox.wait_for(GRACE, 2) == ()
    with pytest.raises(CommandError, match="SMTP_URL: this demo reads its mails"):
        inbox.require_readable()
