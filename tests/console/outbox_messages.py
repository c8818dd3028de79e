"""Messages in the outbox of the session service of a running mesh, written as its transactions do."""

from __future__ import annotations

import subprocess
from uuid import uuid4

from local.folder_lock import read_published
from local.postgres.installation import bundled_program
from local.service_databases import database_url_of
from solo60.communication.v1.communication_pb2 import Recipient, SendEmailAsyncRequest
from tests.support.local_mesh import TIMEOUT_S, LocalMesh, wait_for

SEND = "solo60.communication.v1.CommunicationService/SendEmailAsync"
RECIPIENT = "ada@members.example"
# Text from outside of the mesh that would run as a script if the page did not show it as text.
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(1)</script>'
INSERT = """
    insert into outbox (message_id, destination, payload, correlation_id, traceparent, aggregate_key)
    values ('{id}', '{destination}', '\\x{payload}', '{correlation_id}', '', '{aggregate_key}')
"""
STATUS = "select status from outbox where message_id = '{id}'"
CORRECT = "update outbox set payload = '\\x{payload}' where message_id = '{id}'"
DELETE = "delete from outbox where message_id = '{id}'"


def run_sql(mesh: LocalMesh, service: str, statement: str) -> str:
    """Run a statement in the database of a service and return its rows as CSV, or its command tag."""
    running = read_published(mesh.data_dir)
    assert running is not None
    program = bundled_program("psql")
    assert program is not None
    # `solo60 psql` would start a Python process for each statement.
    command = [
        program,
        "--csv",
        "-t",
        "-c",
        statement,
        "--dbname",
        database_url_of(str(running["database_url"]), service),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def mail_request(template_key: str = "PASSWORD_CHANGED") -> bytes:
    """Return a request to send a mail, as the outbox stores it."""
    return SendEmailAsyncRequest(
        recipient=Recipient(email=RECIPIENT), template_key=template_key, variables={"member_name": "Ada"}
    ).SerializeToString()


def add_dead_letter(mesh: LocalMesh) -> str:
    """Add a mail with an unknown template, wait until it is a dead letter, and return its id."""
    message_id = str(uuid4())
    statement = INSERT.format(
        id=message_id,
        destination=SEND,
        payload=mail_request("NO_SUCH_TEMPLATE").hex(),
        correlation_id=HOSTILE,
        aggregate_key=HOSTILE,
    )
    run_sql(mesh, "session", statement)
    wait_for(lambda: status_of(mesh, message_id) == "dead")
    return message_id


def status_of(mesh: LocalMesh, message_id: str) -> str:
    """Return the status of a message of the session service, or "" if it does not exist."""
    return run_sql(mesh, "session", STATUS.format(id=message_id))


def correct_template(mesh: LocalMesh, message_id: str) -> None:
    """Give a message a template that exists, as a release that adds the template would."""
    run_sql(mesh, "session", CORRECT.format(payload=mail_request().hex(), id=message_id))


def delete(mesh: LocalMesh, *message_ids: str) -> None:
    """Delete messages."""
    for message_id in message_ids:
        run_sql(mesh, "session", DELETE.format(id=message_id))
