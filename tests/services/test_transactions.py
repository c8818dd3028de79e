"""Static check: services have one kind of transaction, and a retried function does nothing outside of it."""

from __future__ import annotations

import ast
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

import pytest

from tests.support.sources import MODULES_OF_SERVICES, ROOT, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

OPENERS = {"transaction", "begin"}


def violations_in(source: str) -> list[str]:
    """Return the transactions and retried functions in a source that break the rules."""
    nodes = list(ast.walk(ast.parse(source)))
    return [
        *(f"line {node.lineno} opens a transaction without outbox and keys" for node in nodes if is_plain(node)),
        *chain.from_iterable(violations_of(node) for node in nodes if is_retried(node)),
    ]


def is_plain(node: ast.AST) -> TypeGuard[ast.Call]:
    """Return whether a node is a call of `Database.transaction`."""
    return isinstance(node, ast.Call) and name_of(node.func) == "transaction" and "database" in owner_of(node.func)


def is_retried(node: ast.AST) -> TypeGuard[Function]:
    """Return whether a node is a function with the decorator `retried_on_conflict`."""
    return isinstance(node, Function) and "retried_on_conflict" in map(name_of, node.decorator_list)


def violations_of(function: Function) -> Iterator[str]:
    """Yield the violations of a retried function."""
    blocks = [node for node in ast.walk(function) if isinstance(node, ast.AsyncWith) and opens_transaction(node)]
    if len(blocks) != 1:
        yield f"{function.name} opens {len(blocks)} transactions and is retried"
    inside = {node for block in blocks for node in ast.walk(block)}
    for node in ast.walk(function):
        if isinstance(node, ast.Await) and node not in inside:
            yield f"line {node.lineno} is retried and waits outside of the transaction"


def opens_transaction(block: ast.AsyncWith) -> bool:
    """Return whether a block is a transaction."""
    calls = [item.context_expr for item in block.items if isinstance(item.context_expr, ast.Call)]
    return any(name_of(call.func) in OPENERS for call in calls)


def owner_of(function: ast.expr) -> str:
    """Return the name of the object whose method an expression names."""
    return name_of(function.value) if isinstance(function, ast.Attribute) else ""


@pytest.mark.parametrize("module", MODULES_OF_SERVICES, ids=lambda module: str(module.relative_to(ROOT / "services")))
def test_services_open_and_retry_transactions_by_the_rules(module: Path) -> None:
    """A service's transactions are `Transaction`s. A retried function opens exactly one and awaits nothing else."""
    assert violations_in(module.read_text()) == []


@pytest.mark.parametrize(
    "body",
    [
        "async with self._database.transaction() as connection: await connection.execute(statement)",
        "await self._processor.charge(order)\n    async with self._store.transaction() as tx: await tx.publish(event)",
        "async with Transaction.begin(database) as tx: await tx.publish(event)\n    await self._users.GetUser(user)",
        "async with a.transaction() as tx: await tx.publish(event)\n    async with b.transaction() as tx: pass",
        "return 1",
    ],
)
def test_a_transaction_that_breaks_the_rules_is_found(body: str) -> None:
    """The check finds a plain transaction, a remote call that would be repeated, and two transactions or none."""
    assert len(violations_in(f"@retried_on_conflict\nasync def f():\n    {body}")) == 1


def test_a_transaction_that_follows_the_rules_is_accepted() -> None:
    """The check accepts a retried function of one transaction."""
    body = "async with self._store.transaction() as tx: await tx.publish(event)"
    assert violations_in(f"@retried_on_conflict\nasync def f():\n    {body}") == []
