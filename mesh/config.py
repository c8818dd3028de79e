"""Settings of the mesh, from the environment and `.env`: everything that differs between deployments.

Only this module reads the environment. A malformed setting prevents the start, with one sentence that names the
setting. The sentence never repeats the value, which may be a secret. An unknown name is an error only in `.env`,
because other programs share the environment.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any, Literal, get_args

from dotenv.parser import parse_stream
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from contracts.services import MAX_PORT
from mesh.failure import BadSettings
from mesh.port_offset import LOOPBACK_HOSTS, has_port_above, mail_url_with_offset, with_offset
from mesh.service_urls import ServiceUrls, url_field
from mesh.setting_types import (
    BrokerUrl,
    CardProcessorKey,
    CardProcessorUrl,
    Collector,
    DatabaseUrl,
    EngineName,
    HostNames,
    Level,
    LinkSecrets,
    LinkUrl,
    ListenAddress,
    Mailboxes,
    MailServerUrl,
    MetricsUrls,
    PathSetting,
    ProcessorSecrets,
    Seconds,
    Share,
    StandardSecrets,
    TransportName,
    suits_protocol,
    with_collector_port,
    without_padding,
)

ENV_FILE = Path(".env")
# The kinds of telemetry, as in the names of OpenTelemetry's settings, and the exporter of each by default.
Signal = Literal["traces", "metrics", "logs"]
SIGNALS: tuple[Signal, ...] = get_args(Signal)
OTLP = "otlp"
# Values of OTEL_EXPORTER_OTLP_PROTOCOL.
GRPC, HTTP = "grpc", "http/protobuf"
# The settings that only some services read, and those services.
READ_BY = {
    **dict.fromkeys(
        ("smtp_url", "mail_from", "admins_email", "operators_email", "unsubscribe_url", "unsubscribe_secrets"),
        "the communication service reads",
    ),
    "webhook_secrets": "the subscription service reads",
    **dict.fromkeys(
        ("card_processor_webhook_secrets", "stripe_api_key", "stripe_api_url"),
        "the payment and subscription services read",
    ),
}


class SettingsError(BadSettings):
    """A setting is unknown, missing or malformed; the message names the setting."""


class Settings(ServiceUrls):
    """Settings of one process; the environment variable of a field is its name in upper case.

    The address of a service is also its default listen address.
    """

    model_config = SettingsConfigDict(frozen=True, env_file=ENV_FILE, extra="forbid", env_ignore_empty=True)

    # Added to the port of each service, and to the port of SMTP_URL, if the host is loopback. Use it to run a second
    # mesh on the same machine.
    port_offset: int = Field(default=0, ge=0, le=MAX_PORT)
    # The listen address of this process if it differs from the service's URL, such as "0.0.0.0:50051" in a container.
    listen_address: ListenAddress | None = None

    # The data folder of a local mesh: database, keys, logs, spans, mail.
    data_dir: PathSetting = Path(".data")
    # File with the offset of a movable clock, which `solo60 up --clock` sets. If unset, nothing can move the clock.
    clock_file: PathSetting | None = None
    # The PostgreSQL server to use. If unset, `solo60 up` starts its own.
    database_url: DatabaseUrl | None = None
    # Largest number of open connections per process.
    database_connections: int = Field(default=10, ge=1, le=100)

    # File with the hashes of all accepted keys; default: keyring.json in DATA_DIR.
    keyring_file: PathSetting | None = None
    # This process's own key, or a file that contains the key. A changed file is read again.
    service_api_key: SecretStr | None = None
    service_api_key_file: PathSetting | None = None
    # Whether health checks and reflection may be called without a key. gRPC's own health checking sends no key.
    health_open: bool = True
    reflection_open: bool = False

    # Whether undeclared behaviour is rejected and shown to callers, or only logged: calls of methods that are not in
    # the contract's `calls`, and errors that are not in `errors`. A local mesh is strict.
    strict_contracts: bool = False

    # Whether gRPC connections, and calls of the card processor, use the proxy in http_proxy, https_proxy or grpc_proxy.
    calls_through_proxy: bool = False

    # The server engine: gRPC's own core, or one in Rust that is several times as fast but has fewer features.
    engine: EngineName = "grpcio"

    # Multiplies the deadlines of all contracts, in client and server. Use more than 1 for a debugger or a slow machine.
    deadline_factor: float = Field(default=1.0, ge=0.1, le=1_000)
    # Multiplies the rate limits of all contracts.
    rate_limit_factor: float = Field(default=1.0, ge=0.001, le=1_000)
    # Queueing delay above which a server sheds load. 60 in effect disables shedding by delay.
    shed_queue_delay_s: Seconds = Field(default=0.02, ge=0.001, le=60)
    # Number of concurrent calls per method that are always admitted while they meet their deadline; a quarter of it if
    # they do not, and half of either for SHEDDABLE calls. 1000 in effect disables the limit.
    shed_least_concurrency: int = Field(default=20, ge=1, le=1_000)

    # Time that a stopping service reports NOT_SERVING before it closes its port, and time that calls then have left.
    drain_wait_s: Seconds = Field(default=0.5, ge=0, le=60)
    drain_grace_s: Seconds = Field(default=10.0, ge=0, le=300)

    # Transport of outbox messages to other services: direct calls, or a broker.
    outbox_transport: TransportName = "grpc"
    # The broker: one or several NATS servers with JetStream, separated by commas, with user and password in the URL if
    # required. If it is set, a service also receives messages from the broker, with any OUTBOX_TRANSPORT.
    nats_url: BrokerUrl | None = Field(default=None, validate_default=True)

    # Set by a parent process that holds this process's standard input. The parent writes the DATABASE_URL there, as one
    # line, when the database is ready. When standard input closes, this process stops.
    stop_with_parent: bool = False
    # Set by the parent process: the open file for the log. The parent then reads standard output and standard error,
    # where libraries write plain text.
    log_fd: int | None = Field(default=None, ge=0)

    # The mail server, with user and password in the URL if required; the sender of mail; and the recipients of system
    # notifications, separated by commas.
    smtp_url: MailServerUrl = SecretStr("smtp://127.0.0.1:50025")
    mail_from: Mailboxes = "Solo60 <no-reply@solo60.example>"
    admins_email: Mailboxes = "admins@solo60.example"
    operators_email: Mailboxes = "operators@solo60.example"

    # Public address of the page behind unsubscribe links, such as "https://mail.solo60.example/unsubscribe". A proxy
    # passes its requests to HTTP_ADDRESS of the communication service. If unset, mails have no such links. The secrets
    # sign the links, the first one those of new mails. Links of every listed secret are valid.
    unsubscribe_url: LinkUrl | None = None
    unsubscribe_secrets: LinkSecrets | None = Field(default=None, validate_default=True)

    # Signing secrets of webhooks: of Standard Webhooks, and of the card processor's own scheme. Several secrets,
    # separated by commas, are valid at once. Without a secret, all webhooks of that scheme are rejected.
    webhook_secrets: StandardSecrets | None = None
    card_processor_webhook_secrets: ProcessorSecrets | None = None

    # Listen address for the plain HTTP of a service that has some, such as the endpoint for webhooks. Encryption is the
    # job of a proxy in front of it. If unset, there is no listener; a local mesh sets it.
    http_address: ListenAddress | None = None
    # The secret key of the account at the card processor, Stripe, and the address of its API. Without a key, cards are
    # in test mode: no card is charged.
    stripe_api_key: CardProcessorKey | None = None
    stripe_api_url: CardProcessorUrl = "https://api.stripe.com"

    # Listen address of the console, with PORT_OFFSET added if it is on loopback. Any other address requires
    # CONSOLE_LOGIN: readers must sign in with an API key. CONSOLE_HOSTS are further names of the console in browsers,
    # separated by commas.
    console_login: bool = False
    console_address: ListenAddress = "127.0.0.1:5500"
    console_hosts: HostNames = ""

    # Listen address for Prometheus, over HTTP without a key. Only Prometheus should be able to reach it.
    metrics_address: ListenAddress | None = None
    # Prometheus pages of all services, which the console and `solo60 traffic` read: "service=URL", separated by commas,
    # with several entries for a service with several processes. If unset, the pages of a local mesh are read.
    metrics_urls: MetricsUrls | None = None
    log_level: Level = "info"
    # Adds the request of each call to the access log, with personal data masked.
    log_requests: bool = False
    # A process moves its memory to huge pages before it serves (`mesh.serving.huge_pages`).
    huge_pages: bool = True
    # Share of new traces that is recorded. A trace that arrives with a call follows the caller's decision.
    trace_sample_ratio: Share = Field(default=1.0, ge=0, le=1)
    # A call that takes longer is recorded even if its trace is not, and so is a call that fails by a service's fault.
    trace_slow_s: Seconds = Field(default=1.0, ge=0.001, le=3_600)
    # A collector for spans, metrics and log lines, by OTLP over gRPC ("http://host:4317") or HTTP ("http://host:4318").
    # A protocol for one of the three precedes the common one. The exporter "none" turns one of the three off. The
    # interval between two exports of the metrics is in milliseconds.
    otel_exporter_otlp_endpoint: Collector | None = None
    otel_exporter_otlp_traces_protocol: str | None = None
    otel_exporter_otlp_metrics_protocol: str | None = None
    otel_exporter_otlp_logs_protocol: str | None = None
    otel_exporter_otlp_protocol: str = Field(default=GRPC, validate_default=True)
    otel_traces_exporter: str = OTLP
    otel_metrics_exporter: str = OTLP
    otel_logs_exporter: str = OTLP
    otel_metric_export_interval: int = Field(default=60_000, ge=100, le=3_600_000)
    # A folder for spans that `solo60` reads. Spans may have both destinations, or neither.
    span_dir: PathSetting | None = None
    # A comma-separated list, as OpenTelemetry defines it. With "rpc/dup", spans carry the attributes of the RPC
    # conventions before 1.38 beside the current ones. Other entries are for other libraries.
    otel_semconv_stability_opt_in: str = ""

    @field_validator("port_offset")
    @classmethod
    def _reject_ports_out_of_range(cls, value: int, info: ValidationInfo) -> int:
        for name, url in info.data.items():
            if name in ServiceUrls.model_fields and has_port_above(MAX_PORT, with_offset(url, value)):
                raise ValueError(f"moves {name.upper()} to a port above {MAX_PORT}")
        return value

    @field_validator("console_address")
    @classmethod
    def _reject_open_console(cls, value: str, info: ValidationInfo) -> str:
        host = value.rpartition(":")[0].strip("[]")
        if host not in LOOPBACK_HOSTS and not info.data.get("console_login"):
            raise ValueError(
                "must be on loopback unless CONSOLE_LOGIN is true, because everybody who reaches it could read the mesh"
            )
        return value

    @field_validator("nats_url")
    @classmethod
    def _require_broker(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("outbox_transport") == "nats":
            raise ValueError("must be set if OUTBOX_TRANSPORT is nats")
        return value

    @field_validator("unsubscribe_secrets")
    @classmethod
    def _require_secrets(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("unsubscribe_url") is not None:
            raise ValueError("must be set if UNSUBSCRIBE_URL is set")
        return value

    @field_validator(*(f"otel_exporter_otlp_{each}_protocol" for each in SIGNALS), "otel_exporter_otlp_protocol")
    @classmethod
    def _reject_other_protocols(cls, value: str | None, info: ValidationInfo) -> str | None:
        collector = info.data.get("otel_exporter_otlp_endpoint")
        if value is None or collector is None:
            return value
        value = value.lower()
        if value not in (GRPC, HTTP):
            raise ValueError(f"must be {GRPC} or {HTTP} if OTEL_EXPORTER_OTLP_ENDPOINT is set")
        is_used = any(info.data.get(f"otel_exporter_otlp_{each}_protocol") is None for each in SIGNALS)
        if (info.field_name != "otel_exporter_otlp_protocol" or is_used) and not suits_protocol(collector, value):
            reason = "has a path" if value == GRPC else "is not a URL"
            raise ValueError(f"must be {HTTP if value == GRPC else GRPC}, because OTEL_EXPORTER_OTLP_ENDPOINT {reason}")
        return value

    @field_validator("otel_traces_exporter", "otel_metrics_exporter", "otel_logs_exporter")
    @classmethod
    def _reject_other_exporters(cls, value: str, info: ValidationInfo) -> str:
        if value.lower() not in (OTLP, "none") and info.data.get("otel_exporter_otlp_endpoint") is not None:
            raise ValueError("must be otlp or none if OTEL_EXPORTER_OTLP_ENDPOINT is set")
        return value.lower()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - signature of pydantic-settings
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment and `.env`, and strip blanks and quotes around values."""
        for source in (env_settings, dotenv_settings):
            if isinstance(source, EnvSettingsSource):
                source.env_vars = without_padding(source.env_vars)
        return init_settings, env_settings, dotenv_settings, file_secret_settings

    @property
    def emits_old_rpc_names(self) -> bool:
        """Whether spans also carry the attributes of earlier conventions."""
        return "rpc/dup" in map(str.strip, self.otel_semconv_stability_opt_in.split(","))

    @property
    def late_recording_s(self) -> float | None:
        """Seconds after which a call is recorded in any trace; None if TRACE_SAMPLE_RATIO turns traces off."""
        return self.trace_slow_s if self.trace_sample_ratio else None

    def collector_of(self, signal: Signal) -> str | None:
        """Return the collector that receives `signal`, or None if the signal is not exported.

        The address for HTTP is the base URL for all signals.
        """
        exporter: str = getattr(self, f"otel_{signal}_exporter")
        collector = self.otel_exporter_otlp_endpoint if exporter == OTLP else None
        is_http = self.otlp_protocol_of(signal) == HTTP
        return collector if collector is None or is_http else with_collector_port(collector)

    def otlp_protocol_of(self, signal: Signal) -> str:
        """Return the protocol that carries `signal` to the collector."""
        own: str | None = getattr(self, f"otel_exporter_otlp_{signal}_protocol")
        return own or self.otel_exporter_otlp_protocol

    def url_of(self, service: str) -> str:
        """Return the address of a service by its short name, such as "gym", with PORT_OFFSET added."""
        return with_offset(str(getattr(self, url_field(service))), self.port_offset)

    def listen_address_of(self, service: str) -> str:
        """Return the address where this process serves `service`."""
        return self.listen_address or self.url_of(service).removeprefix("dns:///")

    @property
    def mail_server_url(self) -> SecretStr:
        """The URL of the mail server, with PORT_OFFSET added if it is on loopback."""
        return SecretStr(mail_url_with_offset(self.smtp_url.get_secret_value(), self.port_offset))

    @property
    def console_listen_address(self) -> str:
        """The listen address of the console, with PORT_OFFSET added if it is on loopback."""
        return with_offset(self.console_address, self.port_offset)

    @property
    def keyring_path(self) -> Path:
        """The keyring file, which servers read and `solo60 keys` writes."""
        return self.keyring_file or self.data_dir / "keyring.json"

    @property
    def postgres_folder(self) -> Path:
        """The data folder of a local mesh's own PostgreSQL."""
        return self.data_dir / "postgres"

    @property
    def inbox_folder(self) -> Path:
        """The mail folder of a local mesh's inbox."""
        return self.data_dir / "inbox"

    @property
    def log_folder(self) -> Path:
        """The folder for the logs of a local mesh's services."""
        return self.data_dir / "logs"

    def log_path_of(self, service: str) -> Path:
        """Return the log file of `service` in a local mesh."""
        return self.log_folder / f"{service}.jsonl"

    @property
    def local_span_dir(self) -> Path:
        """The folder for the spans of a local mesh's services and of the command line."""
        return self.span_dir or self.data_dir / "spans"

    def key_path_of(self, caller: str) -> Path:
        """Return the file with the key of `caller` in a local mesh."""
        return self.data_dir / "keys" / caller


def load_settings(**overrides: Any) -> Settings:
    """Return the settings of this process; raise SettingsError for the first invalid setting."""
    _reject_unreadable_lines()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise SettingsError(_sentence(str(first["loc"][0]), first["type"], first["msg"])) from None


def _reject_unreadable_lines() -> None:
    """Raise SettingsError for a line of `.env` that python-dotenv would ignore silently."""
    try:
        text = ENV_FILE.read_text(encoding="utf-8") if ENV_FILE.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{ENV_FILE}: cannot be read: {getattr(error, 'strerror', 'not text')}.") from None
    for binding in parse_stream(StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            raise SettingsError(f"{ENV_FILE}: line {binding.original.line} is not NAME=value.")


def _sentence(field: str, kind: str, message: str) -> str:
    name = field.upper()
    if kind == "extra_forbidden":
        near = get_close_matches(field, Settings.model_fields, n=1)
        hint = f" Did you mean {near[0].upper()}?" if near else ""
        return f"{name}: unknown setting in {ENV_FILE}.{hint}"
    if kind == "bool_parsing":
        message = "must be true or false"
    reason = message.removeprefix("Value error, ").replace("Input should be", "must be").partition(", unable to")[0]
    reader = f"; {READ_BY[field]} it" if field in READ_BY else ""
    return f"{name}: {reason}{reader}."


def child_environment(**settings: object) -> dict[str, str]:
    """Return the environment for a child process, with `settings` (by field name) set."""
    changed = {name.upper(): str(value) for name, value in settings.items() if value is not None}
    return {**os.environ, **changed}


def replace_environment(environment: dict[str, str]) -> None:
    """Replace the environment that this process has inherited from its parent by a fork."""
    os.environ.clear()
    os.environ.update(environment)
