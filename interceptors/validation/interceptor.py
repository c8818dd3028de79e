"""Validation of requests and responses against the rules of their contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import protovalidate

from contracts.errors import Internal
from contracts.plain.messages import PLAIN_CHECKS
from contracts.policy import ContractError
from contracts.request_violations import check_doubtful_request
from contracts.violations import violations_of
from interceptors.chain.server import ServerInterceptor

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from contracts.method import Method
    from interceptors.chain.call import Call, MessageHook


class ServerValidation(ServerInterceptor):
    """Server interceptor that checks requests and responses against their contract.

    An invalid request is rejected as in `contracts.request_violations.check_request`. An invalid response is a fault of
    the service and becomes INTERNAL. The fast path (`contracts.plain`) accepts most messages.

    >>> call_echo(ServerValidation(), text="hi")
    'hi'
    >>> call_echo(ServerValidation(), text="")
    'INVALID_REQUEST'
    """

    def applies_to(self, method: Method) -> bool:
        """Return True; raise ContractError if a rule of the method's messages does not compile."""
        # Rules are compiled when a type is first checked, which takes milliseconds. Do it before the first call.
        try:
            violations_of(method.request_type())
            violations_of(method.response_type())
        except protovalidate.CompilationError as error:
            raise ContractError(f"{method.full_name}: a rule of its messages does not compile ({error}).") from None
        return True

    def request_hook(self, method: Method) -> MessageHook:
        is_plain = PLAIN_CHECKS[method.request_type]

        def check(call: Call, message: Message) -> None:
            if not is_plain(message):
                raw = call.incoming if isinstance(call.incoming, bytes) else message.SerializeToString()
                check_doubtful_request(message, raw)

        return check

    def response_hook(self, method: Method) -> MessageHook:
        is_plain = PLAIN_CHECKS[method.response_type]

        def check(_call: Call, message: Message) -> None:
            if not is_plain(message):
                _check_doubtful_response(method, message)

        return check


def _check_doubtful_response(method: Method, message: Message) -> None:
    violations = violations_of(message)
    if violations:
        broken = "; ".join(f"{violation.field} {violation.description}" for violation in violations)
        raise Internal(f"The response of {method.full_name} violates the contract: {broken}.")
