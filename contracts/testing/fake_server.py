"""Fake server of any service, which enforces the contract on the wire and answers calls by script.

    async with FakeServer([Caller("session", frozenset({"gym.read"}), key)]) as fake:
        fake.of(GymServiceStub).GetGym(answer=GetGymResponse(gym=gym))

Descriptors tell everything, so the server needs no generated servicer. It serves each imported contract.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor

from contracts.method import Method, find_method, read_method, service_of_stub
from contracts.policy import ContractError
from contracts.redaction import redacted
from contracts.testing.fake_call import HANDLER_FACTORIES, FakeCalls
from contracts.testing.health import health_handler
from contracts.testing.script import Script, ScriptError, ScriptMethod, answers_of, requests_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from google.protobuf.message import Message

    from contracts.errors import ServiceError
    from contracts.testing.admission import Caller

    Service = Callable[..., object] | ServiceDescriptor


class UnexpectedCalls(AssertionError):
    """Calls that no script answers, or that the clients of a contract never send."""


@dataclass(frozen=True, slots=True)
class AnsweredCall:
    """Call that a fake server has answered: its requests, and the seconds until its deadline when it arrived."""

    requests: tuple[Message, ...]
    time_left_s: float


class FakeServer:
    """Server on a free port of the loopback interface, with a script for each method.

    It rejects a call for the same reasons as the real interceptors: API key, scopes, deadline, idempotency key and
    field rules. A repeated idempotency key gets the first answer again. `deadline_factor` multiplies the deadlines of
    the contracts. At the end of the context, calls without a script raise UnexpectedCalls. `find` returns the method
    with a path, so that a server can have other contracts than those of the generated code.

    The first script that accepts the request and is not used up answers a call.
    """

    def __init__(
        self,
        callers: Iterable[Caller] = (),
        *,
        deadline_factor: float = 1.0,
        find: Callable[[str], Method] = find_method,
    ) -> None:
        self.callers = list(callers)
        self.address = ""
        self.problems: list[str] = []
        self._scripts: list[Script] = []
        self._calls: dict[Script, list[AnsweredCall]] = {}
        self._has_answered = asyncio.Event()
        self._handler = _AnyMethod(FakeCalls(self, deadline_factor), self.problems, find)
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(handlers=[self._handler])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._server is not None:
            await self._server.stop(0)
        if self.problems and error is None:
            raise UnexpectedCalls("\n".join(self.problems))
        if self.problems and error is not None:
            error.add_note("\n".join(self.problems))

    def of(self, service: Service) -> Scripting:
        """Return the scripting of a service, given by its stub class or descriptor."""
        return Scripting(self, descriptor_of(service))

    def add(self, script: Script) -> Script:
        """Add a script after the others."""
        self._scripts.append(script)
        self._calls[script] = []
        return script

    def calls_of(self, script: Script) -> Sequence[AnsweredCall]:
        """Return the calls that a script has answered."""
        return self._calls[script]

    def script_for(self, method: Method, requests: Sequence[Message], *, are_complete: bool = True) -> Script | None:
        """Return the script that answers a call with these requests, or with these as the first ones."""
        for script in self._scripts:
            is_left = script.times is None or len(self._calls[script]) < script.times
            if script.method is method and is_left and script.accepts(requests, are_complete=are_complete):
                return script
        return None

    def note_call(self, script: Script, requests: tuple[Message, ...], time_left_s: float) -> None:
        """Note a call that a script answers."""
        self._calls[script].append(AnsweredCall(requests, time_left_s))
        self._has_answered.set()

    async def until(self, is_done: Callable[[], bool]) -> None:
        """Wait until a condition holds that depends on the answered calls."""
        while not is_done():
            self._has_answered.clear()
            await self._has_answered.wait()

    def note_unscripted(self, caller: Caller, method: Method, requests: Sequence[Message]) -> str:
        """Note a call without a script as a problem, with the requests that the method's scripts answer; return it."""
        scripted = [_shown(script.requests) for script in self._scripts if script.method is method]
        known = (
            f"the scripts of this method answer {' and '.join(scripted)}" if scripted else "the method has no script"
        )
        call = f"{caller.name} called {method.full_name} with {_shown(requests)}"
        return self.note(f"{call}, but no script answers this call: {known}.")

    def note(self, problem: str) -> str:
        """Note a problem for the end of the context, and return it."""
        self.problems.append(problem)
        return problem


class Scripting:
    """Scripts of one service: each method of the contract is a function that scripts its calls."""

    def __init__(self, server: FakeServer, service: ServiceDescriptor) -> None:
        self._server = server
        self._service = service

    def __getattr__(self, name: str) -> ScriptMethod:
        method = method_named(self._service, name)

        def script(
            *,
            request: Message | Sequence[Message] | None = None,
            answer: Message | None = None,
            answers: Sequence[Message] = (),
            error: ServiceError | grpc.StatusCode | None = None,
            **options: Any,
        ) -> Script:
            given, sent = requests_of(request), answers_of(answer, answers)
            return self._server.add(Script(method, given, sent, error, **options))

        return script


def descriptor_of(service: Service) -> ServiceDescriptor:
    """Return the descriptor of a service, given by its stub class or descriptor."""
    return service if isinstance(service, ServiceDescriptor) else service_of_stub(service)


def method_named(service: ServiceDescriptor, name: str) -> Method:
    """Return a method of a service; raise ScriptError if the contract has none with this name."""
    if name.startswith("_"):  # of Python, such as __deepcopy__
        raise AttributeError(name)
    if name not in service.methods_by_name:
        raise ScriptError(f"{service.full_name} has no method {name}.")
    return read_method(service.methods_by_name[name])


class _AnyMethod(grpc.GenericRpcHandler):
    """Handlers of every method that `find` returns."""

    def __init__(self, calls: FakeCalls, problems: list[str], find: Callable[[str], Method]) -> None:
        self._calls = calls
        self._problems = problems
        self._find = find

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        path = handler_call_details.method
        if (health := health_handler(path)) is not None:
            return health
        try:
            method = self._find(path)
        except ContractError as error:
            self._problems.append(str(error))
            return None
        if method.is_foreign:
            return None
        shape = HANDLER_FACTORIES[method.request_streaming, method.response_streaming]
        return shape(self._calls.serving(method))


def _shown(requests: Sequence[Message] | None) -> str:
    if requests is None:
        return "any request"
    return ", ".join(str(redacted(request)) for request in requests) or "no request"
