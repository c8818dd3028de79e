from __future__ import annotations

import base64
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from contracts.services import SERVICE_NAMES, SERVICES, default_port_of
from mesh.config import SettingsError, Signal, child_environment, load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder without a `.env` file."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.requirement("L1")
def test_every_service_has_its_own_address() -> None:
    """Without any setting, each service has its own address, with the port in its contract, and listens there."""
    settings = load_settings()

    addresses = {settings.url_of(name) for name in SERVICE_NAMES}

    assert len(addresses) == len(SERVICE_NAMES)
    assert addresses == {f"127.0.0.1:{default_port_of(service)}" for service in SERVICES.values()}
    assert {settings.listen_address_of(name) for name in SERVICE_NAMES} == addresses


@pytest.mark.requirement("L1")
def test_the_environment_sets_the_address_of_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """<NAME>_SERVICE_URL sets the address of a service. LISTEN_ADDRESS overrides the address it listens at."""
    monkeypatch.setenv("GYM_SERVICE_URL", "dns:///gym.internal:50051")

    assert load_settings().url_of("gym") == "dns:///gym.internal:50051"
    assert load_settings().listen_address_of("gym") == "gym.internal:50051"

    monkeypatch.setenv("LISTEN_ADDRESS", "0.0.0.0:50051")

    assert load_settings().listen_address_of("gym") == "0.0.0.0:50051"


def test_a_service_may_have_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service URL may list the addresses of several replicas."""
    monkeypatch.setenv("GYM_SERVICE_URL", "ipv4:10.0.0.7:50053,10.0.0.8:50053")

    assert load_settings().url_of("gym") == "ipv4:10.0.0.7:50053,10.0.0.8:50053"


def test_the_environment_overrides_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments override environment variables, and environment variables override `.env`."""
    (folder / ".env").write_text("LOG_LEVEL=warning\nDRAIN_WAIT_S=1\nDATABASE_CONNECTIONS=3\n")
    monkeypatch.setenv("DRAIN_WAIT_S", "2")
    monkeypatch.setenv("DATABASE_CONNECTIONS", "4")

    settings = load_settings(database_connections=5)

    assert (settings.log_level, settings.drain_wait_s, settings.database_connections) == ("warning", 2, 5)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty environment variable counts as unset."""
    monkeypatch.setenv("SPAN_DIR", "")

    assert load_settings().span_dir is None


SIGNALS: tuple[Signal, ...] = ("traces", "metrics", "logs")
COMMON_SPELLINGS = [
    ("GYM_SERVICE_URL", "http://gym:50053", "gym:50053"),
    ("GYM_SERVICE_URL", "grpc://gym:50053/", "gym:50053"),
    ("GYM_SERVICE_URL", "gym:50053/", "gym:50053"),
    ("GYM_SERVICE_URL", "[::1]:50053", "[::1]:50053"),
    ("GYM_SERVICE_URL", "dns:gym:50053", "dns:///gym:50053"),
    ("GYM_SERVICE_URL", "ipv4:10.0.0.7:50053, 10.0.0.8:50053", "ipv4:10.0.0.7:50053,10.0.0.8:50053"),
    ("GYM_SERVICE_URL", "10.0.0.7:50053,10.0.0.8:50053", "ipv4:10.0.0.7:50053,10.0.0.8:50053"),
    ("GYM_SERVICE_URL", "[fd00::7]:50053,[fd00::8]:50053", "ipv6:[fd00::7]:50053,[fd00::8]:50053"),
    ("LISTEN_ADDRESS", ":50051", "0.0.0.0:50051"),
    ("METRICS_ADDRESS", "*:9090", "0.0.0.0:9090"),
    ("HTTP_ADDRESS", ":8080", "0.0.0.0:8080"),
    ("DATABASE_URL", "postgres://ada:pw@db/solo60", "postgres://ada:pw@db/solo60"),
    ("DATABASE_URL", "postgresql+asyncpg://ada:pw@db:5432/solo60", "postgresql://ada:pw@db:5432/solo60"),
    ("DATABASE_URL", "postgresql:///solo60?host=/run/postgresql", "postgresql:///solo60?host=/run/postgresql"),
    ("SMTP_URL", "smtp://mail.example/", "smtp://mail.example/"),
    ("LOG_LEVEL", "INFO", "info"),
    ("LOG_LEVEL", "Warn", "warning"),
    ("LOG_LEVEL", "CRITICAL", "critical"),
    ("LOG_LEVEL", '"debug"', "debug"),
    ("ENGINE", "Native", "native"),
    ("OUTBOX_TRANSPORT", "GRPC", "grpc"),
    ("HEALTH_OPEN", "OFF", False),
    ("LOG_REQUESTS", " yes\n", True),
    ("DATABASE_CONNECTIONS", " 20 ", 20),
    ("DRAIN_WAIT_S", "500ms", 0.5),
    ("DRAIN_GRACE_S", "2 min", 120),
    ("DRAIN_GRACE_S", "30s", 30),
    ("SHED_QUEUE_DELAY_S", "20ms", 0.02),
    ("TRACE_SAMPLE_RATIO", "10%", 0.1),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector", "https://collector"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector/", "http://collector"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1]", "http://[::1]"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:55680", "http://collector:55680"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "collector:4317"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "dns:///collector:4317", "dns:///collector:4317"),
    ("OTEL_TRACES_EXPORTER", "OTLP", "otlp"),
    ("OTEL_METRICS_EXPORTER", "none", "none"),
    ("OTEL_LOGS_EXPORTER", " None ", "none"),
    ("OTEL_METRIC_EXPORT_INTERVAL", "5000", 5000),
    ("NATS_URL", "nats://broker", "nats://broker:4222"),
    ("NATS_URL", "broker:4223, tls://ada:pw@two.example/", "nats://broker:4223,tls://ada:pw@two.example:4222"),
    ("SPAN_DIR", "'/var/spans'", Path("/var/spans")),
    ("METRICS_URLS", "gym=gym:9464", "gym=http://gym:9464/metrics"),
    (
        "METRICS_URLS",
        "gym=http://[::1]:9464/x, gym=https://b/metrics",
        "gym=http://[::1]:9464/x,gym=https://b/metrics",
    ),
]


@pytest.mark.parametrize(("name", "value", "meaning"), COMMON_SPELLINGS)
def test_common_spellings_of_a_setting_are_accepted(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, meaning: object
) -> None:
    """Every common and unambiguous spelling of a setting is accepted."""
    monkeypatch.setenv(name, value)

    found = getattr(load_settings(), name.lower())

    assert (found.get_secret_value() if isinstance(found, SecretStr) else found) == meaning


def test_common_spellings_are_accepted_in_the_file(folder: Path) -> None:
    """A line of `.env` accepts the same spellings as the environment."""
    (folder / ".env").write_text("LOG_LEVEL = WARN \nDRAIN_WAIT_S=' 1s '\nSPAN_DIR='  '\n")

    settings = load_settings()

    assert (settings.log_level, settings.drain_wait_s, settings.span_dir) == ("warning", 1, None)


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A leading tilde in a setting is replaced by the home folder."""
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("DATA_DIR", "~/solo60")

    assert load_settings().data_dir == folder / "solo60"


def test_variables_of_other_programs_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment variables of other programs are ignored, even if they look like settings of the mesh."""
    monkeypatch.setenv("BILLING_SERVICE_URL", "https://billing.example/v2")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "prometheus")

    assert load_settings().url_of("gym") == "127.0.0.1:50053"


@pytest.mark.parametrize(
    ("endpoint", "name", "value", "sentence"),
    [
        ("http://collector", "OTLP_PROTOCOL", "http/json", "must be grpc or http/protobuf if {endpoint} is set."),
        ("http://collector", "OTLP_LOGS_PROTOCOL", "hunter2", "must be grpc or http/protobuf if {endpoint} is set."),
        ("http://collector/otlp", "OTLP_PROTOCOL", "grpc", "must be http/protobuf, because {endpoint} has a path."),
        ("http://collector/otlp", "OTLP_PROTOCOL", None, "must be http/protobuf, because {endpoint} has a path."),
        ("collector:4317", "OTLP_TRACES_PROTOCOL", "http/protobuf", "must be grpc, because {endpoint} is not a URL."),
    ],
)
def test_a_protocol_without_an_exporter_is_rejected(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, name: str, value: str | None, sentence: str
) -> None:
    """With a collector, a protocol is rejected if the mesh does not have it, or if the collector's address excludes it.

    Otherwise all telemetry would be lost.
    """
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    if value is not None:
        monkeypatch.setenv(f"OTEL_EXPORTER_{name}", value)

    with pytest.raises(SettingsError) as caught:
        load_settings()

    assert str(caught.value) == f"OTEL_EXPORTER_{name}: " + sentence.format(endpoint="OTEL_EXPORTER_OTLP_ENDPOINT")


def test_each_kind_of_telemetry_may_have_its_own_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol of one kind precedes the common one. Only gRPC has a default port that differs from the URL's."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "HTTP/protobuf")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc")

    settings = load_settings()

    assert {each: (settings.otlp_protocol_of(each), settings.collector_of(each)) for each in SIGNALS} == {
        "traces": ("http/protobuf", "https://collector"),
        "metrics": ("grpc", "https://collector:4317"),
        "logs": ("http/protobuf", "https://collector"),
    }


def test_the_common_protocol_may_be_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default protocol need not suit the collector if each kind of telemetry has its own protocol."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/otlp/")
    for each in SIGNALS:
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{each.upper()}_PROTOCOL", "http/protobuf")

    assert load_settings().collector_of("logs") == "http://collector:4318/otlp"


@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
def test_an_exporter_other_than_otlp_is_rejected(monkeypatch: pytest.MonkeyPatch, signal: str) -> None:
    """With a collector, an exporter that the mesh does not have is rejected, because nothing would be exported."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector")
    monkeypatch.setenv(f"OTEL_{signal.upper()}_EXPORTER", "otlp,hunter2")

    with pytest.raises(SettingsError) as caught:
        load_settings()

    name = f"OTEL_{signal.upper()}_EXPORTER"
    assert str(caught.value) == f"{name}: must be otlp or none if OTEL_EXPORTER_OTLP_ENDPOINT is set."


def test_each_kind_of_telemetry_is_exported_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a collector, traces, metrics and logs are exported unless their exporter is none."""
    assert {load_settings().collector_of(each) for each in SIGNALS} == {None}

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector")
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")

    settings = load_settings()
    assert {each: settings.collector_of(each) for each in SIGNALS} == {
        "traces": "http://collector:4317",
        "metrics": "http://collector:4317",
        "logs": None,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GYM_SERVICE_URL", "hunter2"),
        ("GYM_SERVICE_URL", "http://hunter2:50051/path"),
        ("GYM_SERVICE_URL", "https://hunter2:50051"),
        ("GYM_SERVICE_URL", "http://hunter2"),
        ("GYM_SERVICE_URL", "hunter2:50051,hunter3:50051"),
        ("GYM_SERVICE_URL", "ipv4:hunter2:50051"),
        ("GYM_SERVICE_URL", "ipv4:10.0.0.7:1,[::1]:1,hunter2:1"),
        ("GYM_SERVICE_URL", "hunter2:65536"),
        ("GYM_SERVICE_URL", "hunter2:0"),
        ("GYM_SERVICE_URL", "ipv4:hunter2:65536,hunter2:50051"),
        ("LISTEN_ADDRESS", "hunter2:"),
        ("LISTEN_ADDRESS", "dns:///hunter2:50051"),
        ("METRICS_ADDRESS", "http://hunter2:9090/metrics"),
        ("HTTP_ADDRESS", "http://hunter2:8080/webhooks"),
        ("DATABASE_URL", "hunter2"),
        ("DATABASE_URL", "mysql://ada:hunter2@db/solo60"),
        ("DATABASE_URL", "jdbc:postgresql://ada:hunter2@db/solo60"),
        ("DATABASE_URL", "postgresql://ada:hunter2/word@db:5432/solo60"),
        ("DATABASE_URL", "postgresql://ada:hunter2@db:65536/solo60"),
        ("SMTP_URL", "hunter2"),
        ("SMTP_URL", "http://hunter2:25"),
        ("SMTP_URL", "smtp://ada:hunter2@mail:port"),
        ("SMTP_URL", "smtp://ada:hunter2@mail:0"),
        ("SMTP_URL", "smtp://ada:hunter2@mail:25/box"),
        ("MAIL_FROM", "hunter2"),
        ("ADMINS_EMAIL", "ann@solo60.example, hunter2"),
        ("OPERATORS_EMAIL", "hunter2@"),
        ("DATA_DIR", "~hunter2/solo60"),
        ("UNSUBSCRIBE_URL", "hunter2"),
        ("UNSUBSCRIBE_URL", "http://hunter2.example/unsubscribe"),
        ("UNSUBSCRIBE_URL", "https://ada:hunter2@solo60.example"),
        ("UNSUBSCRIBE_URL", "https://solo60.example/?hunter2"),
        ("UNSUBSCRIBE_URL", "https://solo60.example/hunter2>,<https://evil.example"),
        ("UNSUBSCRIBE_URL", "https://hunter2.example:0"),
        ("UNSUBSCRIBE_SECRETS", "hunter2"),
        ("UNSUBSCRIBE_SECRETS", "0123456789abcdef0123456789abcdef,hunter2"),
        ("WEBHOOK_SECRETS", "hunter2"),
        ("WEBHOOK_SECRETS", "whsec_hunter2"),
        ("WEBHOOK_SECRETS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,hunter2"),
        ("CARD_PROCESSOR_WEBHOOK_SECRETS", "hunter2"),
        ("CARD_PROCESSOR_WEBHOOK_SECRETS", "whsec_hunter2"),
        ("STRIPE_API_KEY", "hunter2"),
        ("STRIPE_API_KEY", "pk_test_hunter2"),
        ("STRIPE_API_KEY", "sk_test hunter2"),
        ("STRIPE_API_URL", "hunter2"),
        ("STRIPE_API_URL", "http://hunter2"),
        ("STRIPE_API_URL", "https://ada:hunter2@stripe.example"),
        ("STRIPE_API_URL", "https://stripe.example/hunter2"),
        ("STRIPE_API_URL", "https://hunter2:port"),
        ("DATABASE_CONNECTIONS", "hunter2"),
        ("DATABASE_CONNECTIONS", "0"),
        ("DRAIN_WAIT_S", "-1"),
        ("DRAIN_GRACE_S", "inf"),
        ("DRAIN_GRACE_S", "10 hunter2"),
        ("DRAIN_GRACE_S", "301s"),
        ("SHED_QUEUE_DELAY_S", "20ms hunter2"),
        ("HEALTH_OPEN", "hunter2"),
        ("LOG_LEVEL", "hunter2"),
        ("TRACE_SAMPLE_RATIO", "1.1"),
        ("TRACE_SAMPLE_RATIO", "110%"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "hunter2"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://hunter2:4318/v1/traces"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://ada:hunter2@collector:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://hunter2:65536"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://hunter2:4317"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "hunter2"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "99"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "60s"),
        ("METRICS_URLS", "hunter2"),
        ("METRICS_URLS", "hunter2=http://gym:9464"),
        ("METRICS_URLS", "gym=http://ada:hunter2@gym:9464"),
        ("METRICS_URLS", "gym=http://hunter2:65536"),
        ("METRICS_URLS", "gym=ftp://hunter2"),
        ("METRICS_URLS", "gym=gym:9464,,hunter2"),
        ("OUTBOX_TRANSPORT", "hunter2"),
        ("NATS_URL", "hunter2:port"),
        ("NATS_URL", "nats://ada:hunter2@"),
        ("NATS_URL", "http://hunter2:4222"),
        ("NATS_URL", "nats://ada:hunter2@broker:65536"),
        ("NATS_URL", "nats://broker:4222,,hunter2"),
    ],
)
def test_the_error_for_a_malformed_value_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """The error for a malformed value is one sentence that names the setting and does not repeat the value."""
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        load_settings()

    assert str(caught.value).startswith(f"{name}: ")
    assert str(caught.value).endswith(".")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", ["GYM_SERVICE_URL", "LISTEN_ADDRESS"])
def test_the_error_for_an_address_names_the_range_of_ports(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The error for an address with port 70000 names the smallest and the largest port."""
    monkeypatch.setenv(name, "gym.internal:70000")

    with pytest.raises(SettingsError, match=rf"^{name}: .*; a port is 1 to 65535\.$"):
        load_settings()


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("DATABSE_URL=postgres://hunter2@db", " Did you mean DATABASE_URL?"),
        ("GYMS_SERVICE_URL=hunter2:1", " Did you mean GYM_SERVICE_URL?"),
        ("XYZZY=hunter2", ""),
    ],
)
def test_the_error_for_an_unknown_setting_in_the_file_names_it(folder: Path, line: str, hint: str) -> None:
    """An unknown setting in `.env` is rejected with its name and a suggestion if it looks like a typo."""
    (folder / ".env").write_text(line + "\n")

    with pytest.raises(SettingsError) as caught:
        load_settings()

    name = line.partition("=")[0]
    assert str(caught.value) == f"{name}: unknown setting in .env.{hint}"


def test_the_error_for_a_setting_of_one_service_names_that_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for a setting of a single service names that service."""
    monkeypatch.setenv("SMTP_URL", "nonsense")

    with pytest.raises(SettingsError) as caught:
        load_settings()

    assert str(caught.value) == (
        'SMTP_URL: must be "smtp://host:port" or "smtps://user:password@host:port"; the communication service reads it.'
    )


@pytest.mark.parametrize("line", [b"DRAIN_WAIT_S 1", b"DRAIN_WAIT_S", b"MAIL_FROM='open", b"\xff\xfe"])
def test_an_unreadable_line_in_the_file_is_rejected(folder: Path, line: bytes) -> None:
    """A line of `.env` that is not NAME=value stops the start."""
    (folder / ".env").write_bytes(b"LOG_LEVEL=info\n" + line + b"\n")

    with pytest.raises(SettingsError, match=r"^\.env: (line 2 is not NAME=value|cannot be read: not text)\.$"):
        load_settings()


def test_sending_through_a_broker_requires_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """OUTBOX_TRANSPORT=nats requires NATS_URL. NATS_URL alone leaves the transport at grpc."""
    assert load_settings().outbox_transport == "grpc"
    monkeypatch.setenv("NATS_URL", "tls://ada:hunter2@one.example:4222,tls://two.example:4222")
    assert load_settings().outbox_transport == "grpc"
    monkeypatch.setenv("OUTBOX_TRANSPORT", "nats")
    assert load_settings().outbox_transport == "nats"
    monkeypatch.delenv("NATS_URL")

    with pytest.raises(SettingsError, match=r"^NATS_URL: must be set if OUTBOX_TRANSPORT is nats\.$"):
        load_settings()


def webhook_secret_of(size: int) -> str:
    """Return a Standard Webhooks secret with a key of `size` bytes."""
    return "whsec_" + base64.b64encode(b"k" * size).decode()


def test_several_webhook_secrets_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Webhook secrets of the shortest and the longest form are accepted, several separated by commas."""
    monkeypatch.setenv("WEBHOOK_SECRETS", f"{webhook_secret_of(24)}, {webhook_secret_of(64)}")
    monkeypatch.setenv("CARD_PROCESSOR_WEBHOOK_SECRETS", f"whsec_{'a' * 24},whsec_{'_' * 200}")

    load_settings()


@pytest.mark.parametrize(
    "secret",
    [
        ",",
        webhook_secret_of(23),
        webhook_secret_of(65),
        webhook_secret_of(24)[6:],
        webhook_secret_of(24) + "!",
        webhook_secret_of(24) + ",",
    ],
)
def test_a_malformed_webhook_secret_is_rejected_without_being_repeated(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    """A secret must be "whsec_" and 24 to 64 bytes in base64 (Standard Webhooks).

    The error names the setting and its reader, and does not repeat the secret.
    """
    monkeypatch.setenv("WEBHOOK_SECRETS", secret)

    with pytest.raises(SettingsError) as refused:
        load_settings()

    assert str(refused.value) == (
        'WEBHOOK_SECRETS: must be secrets of the form "whsec_<24 to 64 bytes in base64>", separated by commas; '
        "the subscription service reads it."
    )


@pytest.mark.parametrize("url", ["https://api.stripe.com/", "http://127.0.0.1:8420", "http://[::1]:8420"])
def test_the_card_processor_may_be_anywhere_by_https_and_on_this_machine_by_http(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """STRIPE_API_URL is an https:// address, or an http:// address of this machine; a final slash is dropped."""
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_hunter2")
    monkeypatch.setenv("STRIPE_API_URL", url)

    settings = load_settings()

    assert settings.stripe_api_url == url.rstrip("/")
    assert settings.stripe_api_key is not None


@pytest.mark.parametrize(
    "url",
    [
        "https://mail.solo60.example",
        "https://solo60.example:8443/mail/unsubscribe/",
        "http://127.0.0.1:50657/unsubscribe",
    ],
)
def test_unsubscribe_links_lead_to_https_or_to_this_machine(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """UNSUBSCRIBE_URL is an https:// address, or an http:// address of this machine; a final slash is dropped."""
    monkeypatch.setenv("UNSUBSCRIBE_URL", url)
    monkeypatch.setenv("UNSUBSCRIBE_SECRETS", f"{'a' * 32}, {'b' * 200}")

    assert load_settings().unsubscribe_url == url.rstrip("/")


def test_unsubscribe_links_need_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """UNSUBSCRIBE_URL without UNSUBSCRIBE_SECRETS prevents the start with an error that names both."""
    monkeypatch.setenv("UNSUBSCRIBE_URL", "https://mail.solo60.example/unsubscribe")

    with pytest.raises(SettingsError) as caught:
        load_settings()

    assert str(caught.value) == (
        "UNSUBSCRIBE_SECRETS: must be set if UNSUBSCRIBE_URL is set; the communication service reads it."
    )


def test_a_publishable_key_is_no_key_of_the_card_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for a wrong STRIPE_API_KEY names the right form and both services that read the setting."""
    monkeypatch.setenv("STRIPE_API_KEY", "pk_test_hunter2")

    with pytest.raises(SettingsError) as caught:
        load_settings()

    assert str(caught.value) == (
        'STRIPE_API_KEY: must be a secret key of Stripe, "sk_..." or "rk_..."; '
        "the payment and subscription services read it."
    )


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets do not appear in the repr of the settings."""
    for name, scheme in (("DATABASE_URL", "postgresql"), ("SERVICE_API_KEY", "smtp"), ("SMTP_URL", "smtp")):
        monkeypatch.setenv(name, f"{scheme}://hunter2")
    monkeypatch.setenv("NATS_URL", "nats://ada:hunter2@broker:4222")
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_hunter2")

    assert "hunter2" not in repr(load_settings())


def test_settings_are_immutable() -> None:
    """Assigning a setting after loading raises ValidationError."""
    settings = load_settings()

    with pytest.raises(ValidationError):
        settings.log_level = "debug"


def test_a_child_inherits_the_environment_and_gets_its_own_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A child inherits the environment and gets its own settings. A setting of None has the inherited value."""
    monkeypatch.setenv("LOG_LEVEL", "debug")

    environment = child_environment(span_dir=tmp_path, log_level=None, stop_with_parent=True)

    assert environment["SPAN_DIR"] == str(tmp_path)
    assert environment["LOG_LEVEL"] == "debug"
    assert environment["STOP_WITH_PARENT"] == "True"
