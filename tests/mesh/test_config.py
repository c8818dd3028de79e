from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from mesh.config import SERVICE_NAMES, SettingsError, child_environment, load_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder without settings."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_service_has_an_address_of_its_own() -> None:
    """L1: without any setting, all services find each other on one machine."""
    settings = load_settings()

    addresses = {settings.url_of(name) for name in SERVICE_NAMES}

    assert len(addresses) == len(SERVICE_NAMES) == 7
    assert {settings.listen_address_of(name) for name in SERVICE_NAMES} == addresses


def test_the_environment_says_where_a_service_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """L1: <NAME>_SERVICE_URL, and LISTEN_ADDRESS where a process is not found at the address it listens at."""
    monkeypatch.setenv("GYM_SERVICE_URL", "dns:///gym.internal:50051")

    assert load_settings().url_of("gym") == "dns:///gym.internal:50051"
    assert load_settings().listen_address_of("gym") == "gym.internal:50051"

    monkeypatch.setenv("LISTEN_ADDRESS", "0.0.0.0:50051")

    assert load_settings().listen_address_of("gym") == "0.0.0.0:50051"


def test_a_service_may_have_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """T-j5: replicas, between which calls take turns."""
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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GYM_SERVICE_URL", "hunter2"),
        ("GYM_SERVICE_URL", "http://hunter2:50051/path"),
        ("GYM_SERVICE_URL", "http://hunter2:50051"),
        ("GYM_SERVICE_URL", "hunter2:65536"),
        ("GYM_SERVICE_URL", "hunter2:0"),
        ("GYM_SERVICE_URL", "ipv4:hunter2:65536,hunter2:50051"),
        ("LISTEN_ADDRESS", "hunter2:"),
        ("WEBHOOK_SECRETS", "hunter2"),
        ("WEBHOOK_SECRETS", "whsec_hunter2"),
        ("WEBHOOK_SECRETS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,hunter2"),
        ("CARD_PROCESSOR_WEBHOOK_SECRETS", "hunter2"),
        ("CARD_PROCESSOR_WEBHOOK_SECRETS", "whsec_hunter2"),
        ("DATABASE_CONNECTIONS", "hunter2"),
        ("DATABASE_CONNECTIONS", "0"),
        ("DRAIN_WAIT_S", "-1"),
        ("DRAIN_GRACE_S", "inf"),
        ("HEALTH_OPEN", "hunter2"),
        ("LOG_LEVEL", "hunter2"),
        ("TRACE_SAMPLE_RATIO", "1.1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "hunter2:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://hunter2"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://hunter2:65536"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://hunter2:4317"),
        ("OUTBOX_TRANSPORT", "hunter2"),
        ("NATS_URL", "hunter2:4222"),
        ("NATS_URL", "nats://hunter2"),
        ("NATS_URL", "http://hunter2:4222"),
        ("NATS_URL", "nats://ada:hunter2@broker:65536"),
        ("NATS_URL", "nats://broker:4222,hunter2"),
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


def test_an_unknown_setting_in_the_file_is_refused_by_its_name(folder: Path) -> None:
    """A typo is noticed at the start, not in production."""
    (folder / ".env").write_text("DATABSE_URL=postgres://hunter2@db\n")

    with pytest.raises(SettingsError, match=r"^DATABSE_URL: there is no such setting, but it stands in \.env\.$"):
        load_settings()


@pytest.mark.parametrize("line", [b"DRAIN_WAIT_S 1", b"DRAIN_WAIT_S", b"MAIL_FROM='open", b"\xff\xfe"])
def test_a_line_that_would_be_passed_over_is_refused(folder: Path, line: bytes) -> None:
    """What stands in the file is in force, or the start stops."""
    (folder / ".env").write_bytes(b"LOG_LEVEL=info\n" + line + b"\n")

    with pytest.raises(SettingsError, match=r"^\.env: (line 2 is not NAME=value|it cannot be read: not text)\.$"):
        load_settings()


def test_the_address_of_an_unknown_service_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the environment, where other programs have variables too, this one can only be meant for us."""
    monkeypatch.setenv("GYMS_SERVICE_URL", "127.0.0.1:1")

    with pytest.raises(SettingsError, match=r"^GYMS_SERVICE_URL: there is no such service; known are AUTH_SERVICE_URL"):
        load_settings()


def test_who_sends_by_way_of_a_broker_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Part 3: with a broker alone, a service takes in and sends as before; without one it cannot send by way of it."""
    assert load_settings().outbox_transport == "grpc"
    monkeypatch.setenv("NATS_URL", "tls://ada:hunter2@one.example:4222,tls://two.example:4222")
    assert load_settings().outbox_transport == "grpc"
    monkeypatch.setenv("OUTBOX_TRANSPORT", "nats")
    assert load_settings().outbox_transport == "nats"
    monkeypatch.delenv("NATS_URL")

    with pytest.raises(SettingsError, match=r"^NATS_URL: must be set where OUTBOX_TRANSPORT is nats\.$"):
        load_settings()


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings may be printed or logged."""
    for name in ("DATABASE_URL", "SERVICE_API_KEY", "SMTP_URL"):
        monkeypatch.setenv(name, "smtp://hunter2")
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
