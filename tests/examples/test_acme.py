"""Example service with its own contract, which uses the interceptors without the mesh."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import grpc
import grpc.aio
import pytest

from acme.orders.v1 import orders_pb2 as pb
from acme.orders.v1.orders_pb2_grpc import OrderServiceStub
from contracts.errors import (
    CircuitOpen,
    IdempotencyKeyReused,
    Internal,
    InvalidRequest,
    ScopeMissing,
    Unavailable,
    UnknownError,
)
from interceptors.idempotency import IDEMPOTENCY_KEY, REPLAYED
from orders.server import issue_keys, start_server
from orders.servicer import OrderServicer
from shop.client import BOOK, connect
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from acme.orders.v1.orders_pb2_grpc import OrderServiceAsyncStub

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/acme"
README = (EXAMPLE / "README.md").read_text(encoding="utf-8")
START, CALL, GENERATE = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
[OUTPUT] = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
IGNORED = shutil.ignore_patterns("__pycache__", "keys", "third_party")
# Runs a module that cannot import the layers above the interceptors.
WITHOUT_MESH = (
    "import runpy, sys; sys.modules.update(dict.fromkeys(('mesh', 'services', 'local', 'cli')));"
    "runpy.run_module(sys.argv[1], run_name='__main__')"
)
TIMEOUT_S = 120
UNKNOWN_ORDER = "0198c1a2-0000-7000-8000-000000000000"


class RecordingServicer(OrderServicer):
    """Order servicer that records the time left and the idempotency key of each call, and raises `errors` first."""

    def __init__(self, errors: Sequence[Exception]) -> None:
        super().__init__()
        self._errors = list(errors)
        self.times_left_s: list[float | None] = []
        self.keys: list[str] = []

    async def PlaceOrder(self, request: pb.PlaceOrderRequest, context: Any) -> pb.PlaceOrderResponse:
        """Record the call, then raise the next error or place the order."""
        self.times_left_s.append(context.time_remaining())
        self.keys.append(dict(context.invocation_metadata()).get(IDEMPOTENCY_KEY, ""))
        if self._errors:
            raise self._errors.pop(0)
        return await super().PlaceOrder(request, context)


class Orders:
    """Running order server, and its clients."""

    def __init__(self, servicer: RecordingServicer, address: str, keys: Path, exit_stack: AsyncExitStack) -> None:
        self.servicer = servicer
        self._address = address
        self._keys = keys
        self._exit_stack = exit_stack

    async def client_of(self, caller: str) -> OrderServiceAsyncStub:
        """Return a client of the example with the key of `caller`."""
        key = (self._keys / caller).read_text(encoding="utf-8")
        return OrderServiceStub(await self._exit_stack.enter_async_context(connect(self._address, key)))

    async def bare_client(self) -> OrderServiceAsyncStub:
        """Return a client without interceptors."""
        channel = grpc.aio.insecure_channel(self._address)
        return OrderServiceStub(await self._exit_stack.enter_async_context(channel))


class ServeOrders(Protocol):
    """Starter of order servers that raise the given errors first."""

    async def __call__(self, *errors: Exception) -> Orders:
        """Start a server in this process and return it."""


@pytest.fixture
async def serve_orders(tmp_path: Path) -> AsyncIterator[ServeOrders]:
    """Start servers of the example for one test."""
    async with AsyncExitStack() as exit_stack:

        async def start(*errors: Exception) -> Orders:
            servicer = RecordingServicer(errors)
            server, port = await start_server(servicer, issue_keys(tmp_path), "127.0.0.1:0")
            exit_stack.push_async_callback(server.stop, 0)
            return Orders(servicer, f"127.0.0.1:{port}", tmp_path, exit_stack)

        yield start


async def test_an_order_is_placed_and_watched(serve_orders: ServeOrders) -> None:
    """The client's calls, unary and streaming, pass both chains."""
    shop = await (await serve_orders()).client_of("shop")

    placed = await shop.PlaceOrder(BOOK)
    statuses = [each.status async for each in shop.WatchOrder(pb.WatchOrderRequest(order_id=placed.order_id))]

    assert statuses == [pb.ORDER_STATUS_PLACED, pb.ORDER_STATUS_PACKED, pb.ORDER_STATUS_SHIPPED]


async def test_the_scopes_of_the_contract_are_enforced(serve_orders: ServeOrders) -> None:
    """A key without the scope of a method, and no key at all, are rejected; the handler is not called."""
    orders = await serve_orders()
    dashboard, nobody = await orders.client_of("dashboard"), await orders.bare_client()

    with pytest.raises(ScopeMissing, match=r"order\.write"):
        await dashboard.PlaceOrder(BOOK)
    with pytest.raises(UnknownError, match="There is no order") as caught:
        await anext(aiter(dashboard.WatchOrder(pb.WatchOrderRequest(order_id=UNKNOWN_ORDER))))
    with pytest.raises(grpc.aio.AioRpcError, match="valid service API key"):
        await nobody.PlaceOrder(BOOK)

    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    assert orders.servicer.keys == []


async def test_the_deadline_of_the_contract_is_sent(serve_orders: ServeOrders) -> None:
    """A call carries the contract's deadline of 10 s, or the caller's own timeout if that is shorter."""
    orders = await serve_orders()
    shop = await orders.client_of("shop")

    await shop.PlaceOrder(BOOK)
    await shop.PlaceOrder(BOOK, timeout=4)
    await shop.PlaceOrder(BOOK, timeout=100)

    longest_s = (10, 4, 10)
    assert all(
        left_s is not None and 0.5 * limit_s < left_s <= 1.01 * limit_s
        for left_s, limit_s in zip(orders.servicer.times_left_s, longest_s, strict=True)
    )


async def test_a_failed_attempt_is_retried_with_the_same_key(serve_orders: ServeOrders) -> None:
    """The client repeats an unavailable call as the contract says, and all attempts carry one idempotency key."""
    orders = await serve_orders(Unavailable(), Unavailable())
    shop = await orders.client_of("shop")

    assert (await shop.PlaceOrder(BOOK)).order_id

    [key] = set(orders.servicer.keys)
    assert key
    assert len(orders.servicer.keys) == 3


async def test_a_repeated_key_gets_the_first_order(serve_orders: ServeOrders) -> None:
    """A second call with the same key gets the first order, marked as a repetition; another request is rejected."""
    shop = await (await serve_orders()).client_of("shop")
    key = ((IDEMPOTENCY_KEY, "order-17"),)

    first = shop.PlaceOrder(BOOK, metadata=key)
    order_id = (await first).order_id
    repeated = shop.PlaceOrder(BOOK, metadata=key)

    assert (await repeated).order_id == order_id
    assert [REPLAYED in dict(await call.trailing_metadata()) for call in (first, repeated)] == [False, True]
    assert (await shop.PlaceOrder(BOOK)).order_id != order_id
    with pytest.raises(IdempotencyKeyReused):
        await shop.PlaceOrder(pb.PlaceOrderRequest(sku="BOOK-61", quantity=1, recipient="Ada"), metadata=key)


async def test_invalid_requests_are_rejected(serve_orders: ServeOrders) -> None:
    """A request that breaks the rules of its fields is rejected, with the violations of each field."""
    shop = await (await serve_orders()).client_of("shop")

    with pytest.raises(InvalidRequest) as caught:
        await shop.PlaceOrder(pb.PlaceOrderRequest(sku="?", quantity=101, recipient="\n"))

    assert {violation.field for violation in caught.value.violations} == {"sku", "quantity", "recipient"}


async def test_a_failing_method_opens_its_circuit(serve_orders: ServeOrders) -> None:
    """After many failures the client sends no further calls of the method."""
    orders = await serve_orders(*(RuntimeError() for _ in range(100)))
    shop = await orders.client_of("shop")

    for _ in range(20):
        with pytest.raises(Internal):
            await shop.PlaceOrder(BOOK)
    with pytest.raises(CircuitOpen):
        await shop.PlaceOrder(BOOK)

    assert len(orders.servicer.keys) == 20


@contextmanager
def running(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Run a server until the end of the context. Fail with its output if it does not start or ends badly."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            output = ""
            while "listening" not in output:
                line = process.stdout.readline()
                assert line, output
                output += line
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)
            output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, output


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> str:
    """Run a program and return its output. Fail with its error output if it fails."""
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Copy the example, without its ignored files."""
    return shutil.copytree(EXAMPLE, tmp_path / "copied", ignore=IGNORED)


def environment_of(**settings: str) -> dict[str, str]:
    """Return the environment of a shell in which no virtual environment is active, with a free port for the server."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    return {"PATH": os.defpath, "HOME": os.environ["HOME"], "ORDERS_ADDRESS": address, **settings}


@pytest.mark.system
def test_the_commands_of_the_readme_work_in_a_copy(copied: Path) -> None:
    """In a copied folder, each command of the README works, and the generated code is the committed one."""
    environment = environment_of(SOLO60=str(ROOT))
    shell = ("bash", "-euo", "pipefail", "-c")

    run((*shell, GENERATE), copied, environment)
    with running((*shell, START), copied, environment):
        output = run((*shell, CALL), copied, environment)

    assert output == OUTPUT
    names = [str(path.relative_to(EXAMPLE)) for path in EXAMPLE.glob("gen/**/*.py*") if path.suffix != ".pyc"]
    assert filecmp.cmpfiles(EXAMPLE, copied, names, shallow=False) == (names, [], [])


@pytest.mark.system
def test_server_and_client_work_where_the_mesh_cannot_be_imported(copied: Path) -> None:
    """Server and client import nothing of mesh/, services/, local/ and cli/."""
    environment = environment_of(PYTHONPATH="gen")
    program = (sys.executable, "-c", WITHOUT_MESH)

    with running((*program, "orders.server"), copied, environment):
        output = run((*program, "shop.client"), copied, environment)

    assert output == OUTPUT
