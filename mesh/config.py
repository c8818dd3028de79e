"""Settings: everything that differs between two places where the mesh runs, from the environment and `.env`.

This module alone reads the environment. An unknown or malformed setting stops the start with one sentence that names
it; the sentence never repeats a value, which may be a secret.
"""

from __future__ import annotations

import os
import re
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv.parser import parse_stream
from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mesh.webhook_secrets import processor_keys, standard_keys

SERVICE_NAMES = ("auth", "user", "gym", "session", "payment", "subscription", "communication")
URL_SUFFIX = "_SERVICE_URL"
ENV_FILE = Path(".env")
LARGEST_PORT = 65_535


class SettingsError(Exception):
    """A setting is unknown, missing or malformed; the sentence names it."""


def _is_port(digits: str) -> bool:
    return 0 < int(digits) <= LARGEST_PORT


def _address(value: str) -> str:
    for each in value.split(","):
        match = re.fullmatch(r"(?!https?:)([a-z]+:///?)?[^/\s]+:([0-9]{1,5})", each)
        if match is None or not _is_port(match[2]):
            raise ValueError('must be "host:port", or a gRPC target: "dns:///host:port", "ipv4:host:port,host:port"')
    return value


def _collector(value: str) -> str:
    match = re.fullmatch(r"https?://[^/\s]+:([0-9]{1,5})/?", value)
    if match is None or not _is_port(match[1]):
        raise ValueError('must be "http://host:port" or "https://host:port"')
    return value


def _standard_secrets(value: SecretStr) -> SecretStr:
    standard_keys(value)
    return value


def _processor_secrets(value: SecretStr) -> SecretStr:
    processor_keys(value)
    return value


def _broker(value: SecretStr) -> SecretStr:
    for each in value.get_secret_value().split(","):
        match = re.fullmatch(r"(nats|tls)://([^@/\s]+@)?[^@/\s]+:([0-9]{1,5})/?", each)
        if match is None or not _is_port(match[3]):
            raise ValueError('must be "nats://host:port" or "tls://user:password@host:port"')
    return value


Address = Annotated[str, AfterValidator(_address)]
Collector = Annotated[str, AfterValidator(_collector)]
BrokerUrl = Annotated[SecretStr, AfterValidator(_broker)]


class Settings(BaseSettings):
    """The settings of one process; each field's name in capitals is the environment variable."""

    model_config = SettingsConfigDict(frozen=True, env_file=ENV_FILE, extra="forbid", env_ignore_empty=True)

    # Where each service is found, and by default listens.
    auth_service_url: Address = "127.0.0.1:50051"
    user_service_url: Address = "127.0.0.1:50052"
    gym_service_url: Address = "127.0.0.1:50053"
    session_service_url: Address = "127.0.0.1:50054"
    payment_service_url: Address = "127.0.0.1:50055"
    subscription_service_url: Address = "127.0.0.1:50056"
    communication_service_url: Address = "127.0.0.1:50057"
    # Where this process listens, if not at its own URL: "0.0.0.0:50051" in a container.
    listen_address: Address | None = None

    # The folder for what a local mesh keeps: database, keys, logs, spans, mail.
    data_dir: Path = Path(".data")
    # The PostgreSQL to use; without one, `solo60 up` starts its own.
    database_url: SecretStr | None = None
    # The most connections that one process holds open.
    database_connections: int = Field(default=10, ge=1, le=100)

    # Hashes of every key that is accepted here; default: keyring.json in DATA_DIR.
    keyring_file: Path | None = None
    # This process's own key, or the file that holds it, read again whenever it changes.
    service_api_key: SecretStr | None = None
    service_api_key_file: Path | None = None
    # What may be called without a key. gRPC's own health checking sends none.
    health_open: bool = True
    reflection_open: bool = False

    # What carries a server's calls: gRPC's own core, or the one in Rust, several times as fast, which cannot do all.
    engine: Literal["grpcio", "native"] = "grpcio"

    # Multiplies the deadlines of all contracts, at client and server: more than 1 for a debugger or a slow machine.
    deadline_factor: float = Field(default=1.0, ge=0.1, le=1_000)
    # Multiplies the rate limits of all contracts.
    rate_limit_factor: float = Field(default=1.0, ge=0.001, le=1_000)
    # How long all calls may wait before they are served; above it a server sheds load. 60 is as good as never.
    shed_queue_delay_s: float = Field(default=0.02, ge=0.001, le=60)
    # So many calls of one method may be under way at once, however slow they are, as long as they end in time; a
    # quarter of that where they do not. 1000 is as good as no limit.
    shed_least_concurrency: int = Field(default=20, ge=1, le=1_000)

    # How long a stopping service says NOT_SERVING before it closes its port, and then lets calls finish.
    drain_wait_s: float = Field(default=0.5, ge=0, le=60)
    drain_grace_s: float = Field(default=10.0, ge=0, le=300)

    # How what services leave to their outboxes reaches other services: by calls, or by way of a broker.
    outbox_transport: Literal["grpc", "nats"] = "grpc"
    # That broker, NATS with JetStream: one server or several, separated by commas, with user and password in the URL
    # where they ask for them. With it, a service takes in what others left there, however it sends itself.
    nats_url: BrokerUrl | None = Field(default=None, validate_default=True)

    # Set by whoever starts this process and holds its standard input: a line from there brings the DATABASE_URL as soon
    # as the database is ready, and when it closes, the process stops.
    stop_with_parent: bool = False
    # Set by whoever starts this process: the open file that takes its log. The parent then reads standard output and
    # standard error, to which libraries write plain text.
    log_fd: int | None = Field(default=None, ge=0)

    # The server that takes mail, with user and password in the URL where it asks for them; whom mail is from; and where
    # system notifications go, addresses separated by commas.
    smtp_url: SecretStr = SecretStr("smtp://127.0.0.1:50025")
    mail_from: str = "Solo60 <no-reply@solo60.example>"
    admins_email: str = "admins@solo60.example"
    operators_email: str = "operators@solo60.example"

    # What webhooks are signed with, by Standard Webhooks and by the card processor's own scheme. Several secrets,
    # separated by commas, are accepted at once; without any, every webhook of that scheme is refused.
    webhook_secrets: Annotated[SecretStr, AfterValidator(_standard_secrets)] | None = None
    card_processor_webhook_secrets: Annotated[SecretStr, AfterValidator(_processor_secrets)] | None = None

    # Where Prometheus finds the metrics of this process, over HTTP without a key: an address that only it can reach.
    metrics_address: Address | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    # Puts each call's request, personal data masked, into the access log.
    log_requests: bool = False
    # Of new traces, the share that is recorded; a trace that comes with a call keeps its caller's choice.
    trace_sample_ratio: float = Field(default=1.0, ge=0, le=1)
    # Where spans go: an OTLP/gRPC collector ("http://host:4317"), a folder that `solo60` reads, both, or neither.
    otel_exporter_otlp_endpoint: Collector | None = None
    span_dir: Path | None = None
    # As OpenTelemetry defines it, a list with commas: with "rpc/dup" in it, spans carry the attributes of the RPC
    # conventions before 1.38 beside the present ones. Everything else in the list is for other libraries.
    otel_semconv_stability_opt_in: str = ""

    @field_validator("nats_url")
    @classmethod
    def _refuse_no_broker(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("outbox_transport") == "nats":
            raise ValueError("must be set where OUTBOX_TRANSPORT is nats")
        return value

    @property
    def emits_old_rpc_names(self) -> bool:
        """Whether spans carry the attributes of earlier conventions too."""
        return "rpc/dup" in map(str.strip, self.otel_semconv_stability_opt_in.split(","))

    def url_of(self, service: str) -> str:
        """Return the address of a service by its short name, such as "gym"."""
        return str(getattr(self, f"{service}_service_url"))

    def listen_address_of(self, service: str) -> str:
        """Return the address at which this process serves `service`."""
        return self.listen_address or self.url_of(service).removeprefix("dns:///")

    @property
    def keyring_path(self) -> Path:
        """The keyring file that servers read and `solo60 keys` writes."""
        return self.keyring_file or self.data_dir / "keyring.json"

    @property
    def postgres_folder(self) -> Path:
        """Where a local mesh keeps the data of its own PostgreSQL."""
        return self.data_dir / "postgres"

    @property
    def inbox_folder(self) -> Path:
        """Where the inbox of a local mesh keeps mail."""
        return self.data_dir / "inbox"

    @property
    def log_folder(self) -> Path:
        """Where the services of a local mesh write their logs."""
        return self.data_dir / "logs"

    def log_path_of(self, service: str) -> Path:
        """Return the file in which a local mesh keeps the log of `service`."""
        return self.log_folder / f"{service}.jsonl"

    @property
    def local_span_dir(self) -> Path:
        """Where the services of a local mesh, and the command line, keep spans."""
        return self.span_dir or self.data_dir / "spans"

    def key_path_of(self, caller: str) -> Path:
        """Return the file in which a local mesh keeps the key of `caller`."""
        return self.data_dir / "keys" / caller


def load_settings(**overrides: Any) -> Settings:  # noqa: ANN401 - any setting
    """Return the settings of this process; raise SettingsError naming the first that is wrong."""
    for name in os.environ:
        if name.endswith(URL_SUFFIX) and name.removesuffix(URL_SUFFIX).lower() not in SERVICE_NAMES:
            known = ", ".join(service.upper() + URL_SUFFIX for service in SERVICE_NAMES)
            raise SettingsError(f"{name}: there is no such service; known are {known}.")
    _refuse_unreadable_lines()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(map(str, first["loc"])).upper()
        raise SettingsError(f"{name}: {_sentence(first['type'], first['msg'])}.") from None


def _refuse_unreadable_lines() -> None:
    """Raise SettingsError for a line of `.env` that would be passed over in silence."""
    try:
        text = ENV_FILE.read_text(encoding="utf-8") if ENV_FILE.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{ENV_FILE}: it cannot be read: {getattr(error, 'strerror', 'not text')}.") from None
    for binding in parse_stream(StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            raise SettingsError(f"{ENV_FILE}: line {binding.original.line} is not NAME=value.")


def _sentence(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return f"there is no such setting, but it stands in {ENV_FILE}"
    return message.removeprefix("Value error, ").replace("Input should be", "must be").partition(", unable to")[0]


def child_environment(**settings: object) -> dict[str, str]:
    """Return the environment for a process started from this one, with `settings` (by field name) set."""
    changed = {name.upper(): str(value) for name, value in settings.items() if value is not None}
    return {**os.environ, **changed}
