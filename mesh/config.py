"""Settings: everything that differs between two places where the mesh runs, from the environment and `.env`.

This module alone reads the environment. A malformed setting stops the start with one sentence that names it; the
sentence never repeats a value, which may be a secret. An unknown name stops the start only in `.env`: the environment
is shared with other programs, and their variables are theirs.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

from dotenv.parser import parse_stream
from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from mesh.failure import BadSettings
from mesh.port_offset import has_port_above, mail_url_with_offset, with_offset
from mesh.setting_forms import (
    LARGEST_PORT,
    Address,
    BrokerUrl,
    Collector,
    DatabaseUrl,
    EngineName,
    Level,
    ListenAddress,
    Mailboxes,
    MailServerUrl,
    PathSetting,
    Seconds,
    Share,
    TransportName,
    without_padding,
)
from mesh.webhook_secrets import processor_keys, standard_keys

SERVICE_NAMES = ("auth", "user", "gym", "session", "payment", "subscription", "communication")
ENV_FILE = Path(".env")
# The settings that one service alone reads, and that service.
READ_BY = {
    **dict.fromkeys(("smtp_url", "mail_from", "admins_email", "operators_email"), "communication"),
    **dict.fromkeys(("webhook_secrets", "card_processor_webhook_secrets"), "subscription"),
}


class SettingsError(BadSettings):
    """A setting is unknown, missing or malformed; the sentence names it."""


def _standard_secrets(value: SecretStr) -> SecretStr:
    standard_keys(value)
    return value


def _processor_secrets(value: SecretStr) -> SecretStr:
    processor_keys(value)
    return value


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
    # Added to the port of each of these, and of SMTP_URL, where it is on loopback: a second mesh beside the first.
    port_offset: int = Field(default=0, ge=0, le=LARGEST_PORT)
    # Where this process listens, if not at its own URL: "0.0.0.0:50051" in a container.
    listen_address: ListenAddress | None = None

    # The folder for what a local mesh keeps: database, keys, logs, spans, mail.
    data_dir: PathSetting = Path(".data")
    # The PostgreSQL to use; without one, `solo60 up` starts its own.
    database_url: DatabaseUrl | None = None
    # The most connections that one process holds open.
    database_connections: int = Field(default=10, ge=1, le=100)

    # Hashes of every key that is accepted here; default: keyring.json in DATA_DIR.
    keyring_file: PathSetting | None = None
    # This process's own key, or the file that holds it, read again whenever it changes.
    service_api_key: SecretStr | None = None
    service_api_key_file: PathSetting | None = None
    # What may be called without a key. gRPC's own health checking sends none.
    health_open: bool = True
    reflection_open: bool = False

    # Whether what a contract does not declare is refused and named to callers, or logged alone: calls of other methods
    # than those in `calls`, and errors other than those in `errors`. A local mesh is strict.
    strict_contracts: bool = False

    # Whether gRPC connections go through the proxy that http_proxy, https_proxy or grpc_proxy names.
    calls_through_proxy: bool = False

    # What carries a server's calls: gRPC's own core, or the one in Rust, several times as fast, which cannot do all.
    engine: EngineName = "grpcio"

    # Multiplies the deadlines of all contracts, at client and server: more than 1 for a debugger or a slow machine.
    deadline_factor: float = Field(default=1.0, ge=0.1, le=1_000)
    # Multiplies the rate limits of all contracts.
    rate_limit_factor: float = Field(default=1.0, ge=0.001, le=1_000)
    # How long all calls may wait before they are served; above it a server sheds load. 60 is as good as never.
    shed_queue_delay_s: Seconds = Field(default=0.02, ge=0.001, le=60)
    # So many calls of one method may be under way at once, however slow they are, as long as they end in time; a
    # quarter of that where they do not. 1000 is as good as no limit.
    shed_least_concurrency: int = Field(default=20, ge=1, le=1_000)

    # How long a stopping service says NOT_SERVING before it closes its port, and then lets calls finish.
    drain_wait_s: Seconds = Field(default=0.5, ge=0, le=60)
    drain_grace_s: Seconds = Field(default=10.0, ge=0, le=300)

    # How what services leave to their outboxes reaches other services: by calls, or by way of a broker.
    outbox_transport: TransportName = "grpc"
    # That broker, NATS with JetStream: one server or several, separated by commas, with user and password in the URL
    # where they ask for them. With it, a service takes in what others left there, however it sends itself.
    nats_url: BrokerUrl | None = Field(default=None, validate_default=True)

    # Set by whoever starts this process and holds its standard input: a line from there brings the DATABASE_URL as soon
    # as the database is ready, and when it closes, the process stops.
    stop_with_parent: bool = False
    # Set by the parent of this process: the open file that takes its log. The parent then reads standard output and
    # standard error, to which libraries write plain text.
    log_fd: int | None = Field(default=None, ge=0)

    # The server that takes mail, with user and password in the URL where it asks for them; whom mail is from; and where
    # system notifications go, addresses separated by commas.
    smtp_url: MailServerUrl = SecretStr("smtp://127.0.0.1:50025")
    mail_from: Mailboxes = "Solo60 <no-reply@solo60.example>"
    admins_email: Mailboxes = "admins@solo60.example"
    operators_email: Mailboxes = "operators@solo60.example"

    # What webhooks are signed with, by Standard Webhooks and by the card processor's own scheme. Several secrets,
    # separated by commas, are accepted at once; without any, every webhook of that scheme is refused.
    webhook_secrets: Annotated[SecretStr, AfterValidator(_standard_secrets)] | None = None
    card_processor_webhook_secrets: Annotated[SecretStr, AfterValidator(_processor_secrets)] | None = None

    # Where Prometheus finds the metrics of this process, over HTTP without a key: an address that only it can reach.
    metrics_address: ListenAddress | None = None
    log_level: Level = "info"
    # Puts each call's request, personal data masked, into the access log.
    log_requests: bool = False
    # Of new traces, the share that is recorded; a trace that comes with a call keeps its caller's choice.
    trace_sample_ratio: Share = Field(default=1.0, ge=0, le=1)
    # Where spans go: an OTLP/gRPC collector ("http://host:4317"), a folder that `solo60` reads, both, or neither.
    otel_exporter_otlp_endpoint: Collector | None = None
    otel_exporter_otlp_protocol: str = "grpc"
    span_dir: PathSetting | None = None
    # As OpenTelemetry defines it, a list with commas: with "rpc/dup" in it, spans carry the attributes of the RPC
    # conventions before 1.38 beside the present ones. Everything else in the list is for other libraries.
    otel_semconv_stability_opt_in: str = ""

    @field_validator("port_offset")
    @classmethod
    def _refuse_ports_out_of_range(cls, value: int, info: ValidationInfo) -> int:
        for name, url in info.data.items():
            if name.endswith("_service_url") and has_port_above(LARGEST_PORT, with_offset(url, value)):
                raise ValueError(f"moves {name.upper()} to a port above {LARGEST_PORT}")
        return value

    @field_validator("nats_url")
    @classmethod
    def _refuse_no_broker(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("outbox_transport") == "nats":
            raise ValueError("must be set where OUTBOX_TRANSPORT is nats")
        return value

    @field_validator("otel_exporter_otlp_protocol")
    @classmethod
    def _refuse_other_protocols(cls, value: str, info: ValidationInfo) -> str:
        if value.lower() != "grpc" and info.data.get("otel_exporter_otlp_endpoint") is not None:
            raise ValueError("must be grpc where OTEL_EXPORTER_OTLP_ENDPOINT is set: spans go by OTLP over gRPC alone")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings asks for it
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment and `.env` without the blanks and quotes around values."""
        for source in (env_settings, dotenv_settings):
            if isinstance(source, EnvSettingsSource):
                source.env_vars = without_padding(source.env_vars)
        return init_settings, env_settings, dotenv_settings, file_secret_settings

    @property
    def emits_old_rpc_names(self) -> bool:
        """Whether spans carry the attributes of earlier conventions too."""
        return "rpc/dup" in map(str.strip, self.otel_semconv_stability_opt_in.split(","))

    def url_of(self, service: str) -> str:
        """Return the address of a service by its short name, such as "gym"; PORT_OFFSET is added."""
        return with_offset(str(getattr(self, f"{service}_service_url")), self.port_offset)

    def listen_address_of(self, service: str) -> str:
        """Return the address at which this process serves `service`."""
        return self.listen_address or self.url_of(service).removeprefix("dns:///")

    @property
    def mail_server_url(self) -> SecretStr:
        """The server that takes mail; PORT_OFFSET is added where it is on loopback."""
        return SecretStr(mail_url_with_offset(self.smtp_url.get_secret_value(), self.port_offset))

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
    _refuse_unreadable_lines()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise SettingsError(_sentence(str(first["loc"][0]), first["type"], first["msg"])) from None


def _refuse_unreadable_lines() -> None:
    """Raise SettingsError for a line of `.env` that would be passed over in silence."""
    try:
        text = ENV_FILE.read_text(encoding="utf-8") if ENV_FILE.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{ENV_FILE}: it cannot be read: {getattr(error, 'strerror', 'not text')}.") from None
    for binding in parse_stream(StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            raise SettingsError(f"{ENV_FILE}: line {binding.original.line} is not NAME=value.")


def _sentence(field: str, kind: str, message: str) -> str:
    name = field.upper()
    if kind == "extra_forbidden":
        near = get_close_matches(field, Settings.model_fields, n=1)
        hint = f" Did you mean {near[0].upper()}?" if near else ""
        return f"{name}: there is no such setting, but it stands in {ENV_FILE}.{hint}"
    if kind == "bool_parsing":
        message = "must be true or false"
    reason = message.removeprefix("Value error, ").replace("Input should be", "must be").partition(", unable to")[0]
    reader = f"; the {READ_BY[field]} service reads it" if field in READ_BY else ""
    return f"{name}: {reason}{reader}."


def child_environment(**settings: object) -> dict[str, str]:
    """Return the environment for a process started from this one, with `settings` (by field name) set."""
    changed = {name.upper(): str(value) for name, value in settings.items() if value is not None}
    return {**os.environ, **changed}
