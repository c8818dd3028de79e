from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from mesh.config import SERVICE_NAMES, SettingsError, child_environment, load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder without settings."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.requirement("L1")
def test_every_service_has_an_address_of_its_own() -> None:
    """Without any setting, all services find each other on one machine."""
    settings = load_settings()

    addresses = {settings.url_of(name) for name in SERVICE_NAMES}

    assert len(addresses) == len(SERVICE_NAMES) == 7
    assert {settings.listen_address_of(name) for name in SERVICE_NAMES} == addresses


@pytest.mark.requirement("L1")
def test_the_environment_says_where_a_service_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """<NAME>_SERVICE_URL, and LISTEN_ADDRESS where a process is not found at the address it listens at."""
    monkeypatch.setenv("GYM_SERVICE_URL", "dns:///gym.internal:50051")

    assert load_settings().url_of("gym") == "dns:///gym.internal:50051"
    assert load_settings().listen_address_of("gym") == "gym.internal:50051"

    monkeypatch.setenv("LISTEN_ADDRESS", "0.0.0.0:50051")

    assert load_settings().listen_address_of("gym") == "0.0.0.0:50051"


def test_a_service_may_have_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replicas, between which calls take turns."""
    monkeypatch.setenv("GYM_SERVICE_URL", "ipv4:10.0.0.7:50053,10.0.0.8:50053")

    assert load_settings().url_of("gym") == "ipv4:10.0.0.7:50053,10.0.0.8:50053"


def test_the_environment_goes_before_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set for one start is stronger than what is written down; an argument is stronger than both."""
    (folder / ".env").write_text("LOG_LEVEL=warning\nDRAIN_WAIT_S=1\nDATABASE_CONNECTIONS=3\n")
    monkeypatch.setenv("DRAIN_WAIT_S", "2")
    monkeypatch.setenv("DATABASE_CONNECTIONS", "4")

    settings = load_settings(database_connections=5)

    assert (settings.log_level, settings.drain_wait_s, settings.database_connections) == ("warning", 2, 5)


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As shells and containers write it."""
    monkeypatch.setenv("SPAN_DIR", "")

    assert load_settings().span_dir is None


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
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector", "https://collector:4317"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector/", "http://collector:4317"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1]", "http://[::1]:4317"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:55680", "http://collector:55680"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "collector:4317"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "dns:///collector:4317", "dns:///collector:4317"),
    ("NATS_URL", "nats://broker", "nats://broker:4222"),
    ("NATS_URL", "broker:4223, tls://ada:pw@two.example/", "nats://broker:4223,tls://ada:pw@two.example:4222"),
    ("SPAN_DIR", "'/var/spans'", Path("/var/spans")),
]


@pytest.mark.parametrize(("name", "value", "meaning"), COMMON_SPELLINGS)
def test_a_common_spelling_means_what_everybody_means_by_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, meaning: object
) -> None:
    """A shared environment may write a setting in any common way that has one meaning."""
    monkeypatch.setenv(name, value)

    found = getattr(load_settings(), name.lower())

    assert (found.get_secret_value() if isinstance(found, SecretStr) else found) == meaning


def test_the_file_may_be_written_as_freely(folder: Path) -> None:
    """A line of `.env` accepts the same spellings as the environment."""
    (folder / ".env").write_text("LOG_LEVEL = WARN \nDRAIN_WAIT_S=' 1s '\nSPAN_DIR='  '\n")

    settings = load_settings()

    assert (settings.log_level, settings.drain_wait_s, settings.span_dir) == ("warning", 1, None)


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """No shell has read `.env`, so nobody has replaced the tilde."""
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("DATA_DIR", "~/solo60")

    assert load_settings().data_dir == folder / "solo60"


def test_a_variable_of_another_program_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared environment holds the services of others: only `.env` is ours alone."""
    monkeypatch.setenv("BILLING_SERVICE_URL", "https://billing.example/v2")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")

    assert load_settings().url_of("gym") == "127.0.0.1:50053"


def test_spans_are_not_sent_by_a_protocol_that_the_collector_does_not_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every span would be lost in silence."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")

    with pytest.raises(SettingsError, match=r"^OTEL_EXPORTER_OTLP_PROTOCOL: must be grpc if OTEL_EXPORTER_OTLP_E"):
        load_settings()


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
        ("WEBHOOK_SECRETS", "hunter2"),
        ("WEBHOOK_SECRETS", "whsec_hunter2"),
        ("WEBHOOK_SECRETS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,hunter2"),
        ("CARD_PROCESSOR_WEBHOOK_SECRETS", "hunter2"),
        ("CARD_PROCESSOR_WEBHOOK_SECRETS", "whsec_hunter2"),
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
        ("OUTBOX_TRANSPORT", "hunter2"),
        ("NATS_URL", "hunter2:port"),
        ("NATS_URL", "nats://ada:hunter2@"),
        ("NATS_URL", "http://hunter2:4222"),
        ("NATS_URL", "nats://ada:hunter2@broker:65536"),
        ("NATS_URL", "nats://broker:4222,,hunter2"),
    ],
)
def test_a_malformed_value_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """One sentence names the variable; the value, which may be a secret, is not repeated."""
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        load_settings()

    assert str(caught.value).startswith(f"{name}: ")
    assert str(caught.value).endswith(".")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("DATABSE_URL=postgres://hunter2@db", " Did you mean DATABASE_URL?"),
        ("GYMS_SERVICE_URL=hunter2:1", " Did you mean GYM_SERVICE_URL?"),
        ("XYZZY=hunter2", ""),
    ],
)
def test_an_unknown_setting_in_the_file_is_refused_by_its_name(folder: Path, line: str, hint: str) -> None:
    """A typo is noticed at the start, not in production."""
    (folder / ".env").write_text(line + "\n")

    with pytest.raises(SettingsError) as caught:
        load_settings()

    name = line.partition("=")[0]
    assert str(caught.value) == f"{name}: unknown setting in .env.{hint}"


def test_a_setting_of_one_service_names_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator learns where to look."""
    monkeypatch.setenv("SMTP_URL", "nonsense")

    with pytest.raises(SettingsError) as caught:
        load_settings()

    assert str(caught.value) == (
        'SMTP_URL: must be "smtp://host:port" or "smtps://user:password@host:port"; the communication service reads it.'
    )


@pytest.mark.parametrize("line", [b"DRAIN_WAIT_S 1", b"DRAIN_WAIT_S", b"MAIL_FROM='open", b"\xff\xfe"])
def test_a_line_that_would_be_passed_over_is_refused(folder: Path, line: bytes) -> None:
    """What stands in the file is in force, or the start stops."""
    (folder / ".env").write_bytes(b"LOG_LEVEL=info\n" + line + b"\n")

    with pytest.raises(SettingsError, match=r"^\.env: (line 2 is not NAME=value|cannot be read: not text)\.$"):
        load_settings()


def test_who_sends_by_way_of_a_broker_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Part 3: with a broker alone, a service takes in and sends as before; without one it cannot send by way of it."""
    assert load_settings().outbox_transport == "grpc"
    monkeypatch.setenv("NATS_URL", "tls://ada:hunter2@one.example:4222,tls://two.example:4222")
    assert load_settings().outbox_transport == "grpc"
    monkeypatch.setenv("OUTBOX_TRANSPORT", "nats")
    assert load_settings().outbox_transport == "nats"
    monkeypatch.delenv("NATS_URL")

    with pytest.raises(SettingsError, match=r"^NATS_URL: must be set if OUTBOX_TRANSPORT is nats\.$"):
        load_settings()


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings may be printed or logged."""
    for name, scheme in (("DATABASE_URL", "postgresql"), ("SERVICE_API_KEY", "smtp"), ("SMTP_URL", "smtp")):
        monkeypatch.setenv(name, f"{scheme}://hunter2")
    monkeypatch.setenv("NATS_URL", "nats://ada:hunter2@broker:4222")

    assert "hunter2" not in repr(load_settings())


def test_settings_do_not_change() -> None:
    """What a process was started with, it runs with."""
    settings = load_settings()

    with pytest.raises(ValidationError):
        settings.log_level = "debug"


def test_a_child_gets_the_environment_and_its_own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process that starts others says where things are; what is None is left as it is."""
    monkeypatch.setenv("LOG_LEVEL", "debug")

    environment = child_environment(span_dir=tmp_path, log_level=None, stop_with_parent=True)

    assert environment["SPAN_DIR"] == str(tmp_path)
    assert environment["LOG_LEVEL"] == "debug"
    assert environment["STOP_WITH_PARENT"] == "True"
