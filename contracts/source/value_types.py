"""Types of values in Python source, as far as they lead to a stub.

A type is a text: the full name of a service for a stub, "package.Service/Method" for a method of a stub, or the simple
name of any other class. Values with several types have the type AMBIGUOUS.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import ChainMap
    from collections.abc import MutableMapping

    from contracts.source.names import GeneratedNames

AMBIGUOUS = "?"
# Generic types that stand for a value of their first argument, among them the results of context managers.
TRANSPARENT = frozenset(
    {
        "AbstractAsyncContextManager",
        "AbstractContextManager",
        "Annotated",
        "AsyncGenerator",
        "AsyncIterator",
        "Awaitable",
        "Final",
        "Generator",
        "Iterator",
        "Optional",
    }
)


def parts_of(call: ast.Call) -> list[ast.expr]:
    """Return the function and the arguments of a call."""
    return [call.func, *call.args, *(keyword.value for keyword in call.keywords)]


@dataclass(slots=True)
class KnownTypes:
    """Types learnt from all modules of a folder: attributes and results by class and name, and base classes.

    Results of functions have the class "".
    """

    attributes: dict[tuple[str, str], str] = field(default_factory=dict)
    results: dict[tuple[str, str], str] = field(default_factory=dict)
    bases: dict[str, list[str]] = field(default_factory=dict)

    def find(self, known: dict[tuple[str, str], str], owner: str, name: str) -> str:
        """Return the type of an attribute or result of the class `owner` or of its bases, or ""."""
        inherited = (self.find(known, base, name) for base in self.bases.get(owner, ()) if base != owner)
        return known.get((owner, name)) or next(filter(None, inherited), "")


def learn(known: MutableMapping, key: object, learnt: str) -> None:  # type: ignore[type-arg]  # any key
    """Add a type to `known`. A key with several types becomes AMBIGUOUS."""
    if learnt:
        known[key] = learnt if known.get(key) in (None, learnt) else AMBIGUOUS


class Scope:
    """Names that are visible in a function or module, with their types. `owner` is the class of a method, or ""."""

    def __init__(self, names: ChainMap[str, str], owner: str = "") -> None:
        self.names = names
        self.owner = owner

    def inner(self, owner: str = "") -> Scope:
        """Return the scope of a function in this scope."""
        return Scope(self.names.new_child(), owner or self.owner)


class Types:
    """Types of the expressions in one module. `imports` maps local names to dotted ones."""

    def __init__(self, generated: GeneratedNames, known: KnownTypes, imports: dict[str, str]) -> None:
        self._generated = generated
        self._known = known
        self._imports = imports

    def dotted(self, expression: ast.expr) -> str:
        """Return the dotted name of an imported name or of an attribute of one, or ""."""
        match expression:
            case ast.Name(id=name):
                return self._imports.get(name, "")
            case ast.Attribute(value=value, attr=name):
                parent = self.dotted(value)
                return f"{parent}.{name}" if parent else ""
        return ""

    def of_class(self, expression: ast.expr) -> str:
        """Return the type of the instances of the class that an expression names, or ""."""
        dotted = self.dotted(expression)
        name = dotted or (expression.id if isinstance(expression, ast.Name) else "")
        return self._generated.of_class(dotted) or name.rpartition(".")[2]

    def of_annotation(self, annotation: ast.expr | None) -> str:
        """Return the type of an annotation; of a union, the first that is not None."""
        match annotation:
            case ast.Constant(value=str(text)):
                return self.of_annotation(ast.parse(text, mode="eval").body)
            case ast.BinOp(left=left, right=right):
                return self.of_annotation(left) or self.of_annotation(right)
            case ast.Subscript(value=generic, slice=argument):
                if self.of_class(generic) not in TRANSPARENT:
                    return self.of_class(generic)
                return self.of_annotation(argument.elts[0] if isinstance(argument, ast.Tuple) else argument)
            case ast.Name() | ast.Attribute():
                return self.of_class(annotation)
        return ""

    def of(self, expression: ast.expr, scope: Scope) -> str:
        """Return the type of an expression, or "" if it is unknown."""
        match expression:
            case ast.Name(id=name):
                return scope.names.get(name, "")
            case ast.Attribute(value=value, attr=name):
                owner = self.of(value, scope)
                method = self._generated.methods.get(owner, {}).get(name)
                return method or self._known.find(self._known.attributes, owner, name)
            case ast.Await(value=value) | ast.NamedExpr(value=value):
                return self.of(value, scope)
            case ast.Call():
                return self._of_call(expression, scope)
        return ""

    def _of_call(self, call: ast.Call, scope: Scope) -> str:
        """Return the type of a call's result. A function with a stub class as argument returns such a stub."""
        for each in parts_of(call):
            service = self._generated.of_class(self.dotted(each))
            if service in self._generated.methods:
                return service
        match call.func:
            case ast.Name(id="super"):
                return scope.owner
            case ast.Attribute(value=value, attr=name) if owner := self.of(value, scope):
                return self._known.find(self._known.results, owner, name)
        name = self.of_class(call.func)
        return name if name in self._known.bases else self._known.results.get(("", name), "")
