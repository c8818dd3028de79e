"""Prometheus metrics of calls."""
