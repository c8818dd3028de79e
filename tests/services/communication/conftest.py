from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from local.mail_sink import MailSink
from mesh.data.database import Database
from services.communication.app import SERVICE
from services.communication.store import MessageStore
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from tests.services.communication.faulty_mail_server import FaultyMailServer
from tests.services.communication.mail_fixture import MailFixture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub
    from tests.support.postgres import DatabaseFactory
    from tests.support.serving import MeshForTests, Serve


@pytest.fixture
def rng() -> random.Random:
    """Return a random generator with the same sequence in every run."""
    return random.Random(60)  # noqa: S311 - nothing secret


@pytest.fixture
def mail_folder(tmp_path: Path) -> Path:
    """Return the folder in which the mail sink stores mail."""
    return tmp_path / "mail"


@pytest.fixture
async def mail_sink(mail_folder: Path) -> AsyncIterator[MailSink]:
    """Run a mail server that accepts everything."""
    async with MailSink(mail_folder, port=0) as mail_sink:
        yield mail_sink


@pytest.fixture
async def faulty() -> AsyncIterator[FaultyMailServer]:
    """Run a mail server with answers that the test chooses."""
    async with FaultyMailServer() as server:
        yield server


@pytest.fixture
async def mails(database_url: DatabaseFactory, rng: random.Random) -> AsyncIterator[MailFixture]:
    """Return a message store on a new database, with its clock and settings."""
    url = await database_url("communication")
    database = await Database.connect(url)
    yield MailFixture(url, database, MessageStore(database), rng)
    await database.close()


@pytest.fixture
async def mesh(serve: Serve, mail_sink: MailSink) -> MeshForTests:
    """Run the communication service with the mail sink as its mail server."""
    return await serve(SERVICE, smtp_url=mail_sink.url, admins_email="Ann <ann@solo60.example>, bob@solo60.example")


@pytest.fixture
async def faulty_mesh(serve: Serve, faulty: FaultyMailServer) -> MeshForTests:
    """Run the communication service with the configurable mail server."""
    return await serve(SERVICE, smtp_url=faulty.url)


@pytest.fixture
def tracers() -> TracerProvider:
    """Set up tracing for the test."""
    provider = TracerProvider(shutdown_on_exit=False)
    trace.set_tracer_provider(provider)
    return provider


@pytest.fixture
def spans(tracers: TracerProvider) -> Iterator[InMemorySpanExporter]:
    """Return an exporter with all spans that end during the test."""
    exporter = InMemorySpanExporter()
    processor = SimpleSpanProcessor(exporter)
    tracers.add_span_processor(processor)
    yield exporter
    processor.shutdown()


@pytest.fixture
def stub(mesh: MeshForTests) -> CommunicationServiceAsyncStub:
    """Return a stub with every scope."""
    return mesh.stub(CommunicationServiceStub)


@pytest.fixture
def faulty_stub(faulty_mesh: MeshForTests) -> CommunicationServiceAsyncStub:
    """Return a stub of the service that sends to the configurable mail server."""
    return faulty_mesh.stub(CommunicationServiceStub)
