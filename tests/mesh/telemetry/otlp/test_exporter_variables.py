from __future__ import annotations

import pytest

from mesh.config import GRPC, HTTP, Settings, SettingsError
from mesh.telemetry.otlp.exporter_variables import check_timeout, compression_of
from mesh.telemetry.otlp.exports import span_exporter

COMPRESSION, TIMEOUT = "OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_TIMEOUT"


@pytest.mark.parametrize(
    ("text", "protocol", "value"),
    [
        ("", GRPC, "none"),
        ("none", GRPC, "none"),
        (" GZIP", GRPC, "gzip"),
        ("gzip", HTTP, "gzip"),
        ("deflate", HTTP, "deflate"),
    ],
)
def test_compressions(monkeypatch: pytest.MonkeyPatch, text: str, protocol: str, value: str) -> None:
    """The compressions of OpenTelemetry's specification are accepted, and an empty variable is one that is not set."""
    monkeypatch.setenv(COMPRESSION, text)

    assert compression_of("traces", protocol) == value


def test_the_variable_of_a_signal_precedes_the_common_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable of one signal replaces the common one for that signal only."""
    monkeypatch.setenv(COMPRESSION, "gzip")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "none")

    assert (compression_of("traces", GRPC), compression_of("logs", GRPC)) == ("gzip", "none")


@pytest.mark.parametrize(("text", "protocol"), [("deflate", GRPC), ("zstd", HTTP)])
def test_a_wrong_compression_names_the_variable(monkeypatch: pytest.MonkeyPatch, text: str, protocol: str) -> None:
    """A compression that the protocol does not have stops the start with one sentence."""
    monkeypatch.setenv(COMPRESSION, text)
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own argument
        otel_exporter_otlp_endpoint="http://127.0.0.1:4317",
        otel_exporter_otlp_protocol=protocol,
    )

    with pytest.raises(SettingsError, match=f"^{COMPRESSION}: must be one of none, gzip"):
        span_exporter(settings, "http://127.0.0.1:4317")


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_a_wrong_timeout_names_the_variable(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A timeout that is not a number above 0 stops the start with one sentence."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", text)

    with pytest.raises(SettingsError, match=r"^OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: must be a number of seconds above 0"):
        check_timeout("traces")
    check_timeout("logs")


def test_a_timeout_in_seconds_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of seconds is accepted, also with a fraction."""
    monkeypatch.setenv(TIMEOUT, "0.5")

    check_timeout("traces")
