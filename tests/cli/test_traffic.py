from __future__ import annotations

import json
from typing import TYPE_CHECKING

from contracts.services import SERVICE_NAMES

if TYPE_CHECKING:
    from tests.cli.conftest import Solo60


def test_the_command_reports_services_without_metrics(solo60: Solo60) -> None:
    """`solo60 traffic` names each service whose metrics cannot be read, and fails if that is all of them."""
    shown = solo60("traffic", "--for", "0.1")

    assert shown.exit_code == 1
    assert shown.out.count("refuses connections.") == len(SERVICE_NAMES)
    as_json = json.loads(solo60("traffic", "gym", "--all", "--for", "0.1", "--json").out)
    assert {edge["caller"] for edge in as_json["edges"]} == {"gym", "session"}
    assert "refuses" in as_json["services"]["gym"]["problem"]
    unknown = solo60("traffic", "gim")
    assert "Services: auth, user, gym" in unknown.err
