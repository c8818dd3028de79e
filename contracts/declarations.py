"""Checks for undeclared calls and errors: one sentence for each call or error that the contract does not list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.policy import ContractError
from contracts.service_error import ServiceError

if TYPE_CHECKING:
    from contracts.method import Method


def undeclared_call(serving: Method, called: Method) -> str:
    """Return the problem of a call made while serving a method; empty if the contract lists the call."""
    return _undeclared("calls", serving.policy.calls, serving, called)


def undeclared_later_call(serving: Method, called: Method) -> str:
    """Return the problem of a call through the outbox; empty if the contract lists the call."""
    return _undeclared("calls_later", serving.policy.calls_later, serving, called)


def _undeclared(option: str, listed: tuple[str, ...], serving: Method, called: Method) -> str:
    # Foreign methods, such as health checks, declare no calls, and no policy needs to list them.
    if serving.is_foreign or called.is_foreign or called.full_name in listed:
        return ""
    return f"{called.full_name} is not listed in `{option}` of {serving.name}."


def undeclared_in(error: BaseException, method: Method) -> str:
    """Return the problem if `error` shows that a handler of `method` violated its contract; empty otherwise."""
    if isinstance(error, ContractError):
        return str(error)
    if not isinstance(error, ServiceError) or not error.reason:
        return ""
    if error.callee and error.callee not in method.policy.calls:
        return f"{error.callee} is not listed in `calls` of {method.name}."
    if error.reason not in method.policy.errors:
        return f"{error.reason_name()} is not listed in `errors` of {method.name}."
    return ""
