"""Contracts as an operator reads them: methods, messages, errors and events, with policy, callers and rules."""
