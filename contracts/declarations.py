"""Checks for undeclared calls and errors: one sentence for each that the method's contract does not name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.policy import ContractError
from contracts.service_error import ServiceError

if TYPE_CHECKING:
    from contracts.method import Method


def undeclared_call(serving: Method, called: Method) -> str:
    """Return a complaint about a call made while serving a method; empty if the contract names the call."""
    return _undeclared("calls", serving.policy.calls, serving, called)


def undeclared_later_call(serving: Method, called: Method) -> str:
    """Return a complaint about a call through the outbox; empty if the contract names the call."""
    return _undeclared("calls_later", serving.policy.calls_later, serving, called)


def _undeclared(option: str, named: tuple[str, ...], serving: Method, called: Method) -> str:
    # Foreign methods, such as health checks, declare no calls, and no policy needs to name them.
    if serving.is_foreign or called.is_foreign or called.full_name in named:
        return ""
    return f"{called.full_name} is not named in `{option}` of {serving.name}."


def undeclared_in(error: BaseException, method: Method) -> str:
    """Return a complaint if `error` shows that a handler of `method` violated its contract; empty otherwise."""
    if isinstance(error, ContractError):
        return str(error)
    if not isinstance(error, ServiceError) or not error.reason:
        return ""
    if error.callee and error.callee not in method.policy.calls:
        return f"{error.callee} is not named in `calls` of {method.name}."
    if error.reason not in method.policy.errors:
        return f"{error.reason_name()} is not named in `errors` of {method.name}."
    return ""
