"""Export of spans, metrics and log lines over OTLP. Only a process with a collector imports this package."""
