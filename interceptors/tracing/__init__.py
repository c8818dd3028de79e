"""OpenTelemetry spans and trace context of calls."""
