"""Uses of contracts in Python source: calls, later calls, events and errors, found without importing the code.

Every access to a method of a stub is a use. The type of the stub follows from annotations, from stub classes passed to
a function, as in `channels.stub(GymServiceStub)`, and from assignments of such values. An access that might be to a
method of a stub of unknown type is a use of the kind UNRESOLVED.
"""

from __future__ import annotations

import ast
from collections import ChainMap
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from contracts.source.modules import modules_in
from contracts.source.value_types import KnownTypes, Scope, Types, learn, parts_of

if TYPE_CHECKING:
    from pathlib import Path

    from contracts.source.modules import Module
    from contracts.source.names import GeneratedNames

# Statements and expressions without statements inside, and the fields of all other statements that contain statements
# or bind names, in the order of execution.
LEAVES = (ast.expr, ast.Expr, ast.Return)
BLOCKS = ("items", "body", "cases", "handlers", "orelse", "finalbody")
CALL_LATER, ERRORS = "call_later", "contracts.errors."
# Functions that take classes and create no instances.
CLASS_FUNCTIONS = frozenset({"TypeVar", "cast", "isinstance", "issubclass"})


class Kind(Enum):
    """Kind of a use. A REFERENCE to a method is passed on, so it may become a call or a later call."""

    CALL = auto()
    CALL_LATER = auto()
    REFERENCE = auto()
    EVENT = auto()
    RAISED = auto()
    UNRESOLVED = auto()


@dataclass(frozen=True, slots=True)
class Use:
    """Use of a method or event by full name, or of an error class by its name, at a line of a file."""

    kind: Kind
    name: str
    file: str
    line: int


def uses_in(folder: Path, generated: GeneratedNames) -> list[Use]:
    """Return the uses in all Python files below `folder`; raise SourceError for a file that is not Python."""
    modules = modules_in(folder, generated)
    known, before = KnownTypes(), None
    readers: list[_Reader] = []
    # A type that was learnt in one module may be needed in a module that was read before it.
    while known != before:
        before = deepcopy(known)
        readers = [_Reader(module, generated, known, reads_expressions=False) for module in modules]
    uses = []
    for module, reader in zip(modules, readers, strict=True):
        full = _Reader(module, generated, known, reads_expressions=True) if module.mentions_use else reader
        uses += full.uses
    return uses


class _Reader(ast.NodeVisitor):
    """Reader of one module: adds to `known`, and collects the uses. Statements are enough for types and errors."""

    def __init__(
        self, module: Module, generated: GeneratedNames, known: KnownTypes, *, reads_expressions: bool
    ) -> None:
        self.uses: list[Use] = []
        self._module = module
        self._reads_expressions = reads_expressions
        self._generated = generated
        self._known = known
        self._types = Types(generated, known, module.imports)
        self._scope = Scope(ChainMap())
        self._class = ""
        self.visit(module.tree)

    def visit(self, node: ast.AST) -> None:
        if self._reads_expressions or not isinstance(node, LEAVES):
            super().visit(node)

    def generic_visit(self, node: ast.AST) -> None:
        if self._reads_expressions:
            super().generic_visit(node)
        else:
            for name in BLOCKS:
                for each in getattr(node, name, ()):
                    self.visit(each)

    def visit_Import(self, node: ast.Import) -> None:
        for each in node.names:
            root = each.name.partition(".")[0]
            self._module.imports[each.asname or root] = each.name if each.asname else root

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        # A relative import has only its last names.
        for each in node.names:
            self._module.imports[each.asname or each.name] = f"{node.module or ''}.{each.name}".lstrip(".")

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._known.bases[node.name] = [self._types.of_class(base) for base in node.bases]
        outer, self._class = self._class, node.name
        self.generic_visit(node)
        self._class = outer

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        result, is_property = self._types.of_annotation(node.returns), _has_decorator(node, "property")
        result = self._class if result == "Self" else result
        learn(self._known.attributes if is_property else self._known.results, (self._class, node.name), result)
        outer, owner = self._scope, self._class
        self._scope, self._class = outer.inner(owner), ""
        self._bind_arguments(node.args, "" if _has_decorator(node, "staticmethod") else owner)
        self.generic_visit(node)
        self._scope, self._class = outer, owner

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - named by ast

    def _bind_arguments(self, arguments: ast.arguments, owner: str) -> None:
        names = self._scope.names
        for position, each in enumerate((*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)):
            names[each.arg] = owner if owner and position == 0 else self._types.of_annotation(each.annotation)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._bind(target, node.value)
        # Only the uses of a local variable show whether its method is called now or later.
        if not (self._is_local(node.targets) and self._is_method(node.value)):
            self.visit(node.value)

    def _is_local(self, targets: list[ast.expr]) -> bool:
        in_function = len(self._scope.names.maps) > 1 and not self._class
        return in_function and all(isinstance(target, ast.Name) for target in targets)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._learn(node.target, self._types.of_annotation(node.annotation))
        if node.value is not None:
            self.visit(node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._bind(node.target, node.value)
        self.visit(node.value)

    def visit_withitem(self, node: ast.withitem) -> None:
        if node.optional_vars is not None:
            self._bind(node.optional_vars, node.context_expr)
        self.visit(node.context_expr)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for each, one in zip(target.elts, value.elts, strict=True):
                self._bind(each, one)
        else:
            self._learn(target, self._type_of(value))

    def _learn(self, target: ast.expr, learnt: str) -> None:
        match target:
            case ast.Name(id=name) if self._class:
                learn(self._known.attributes, (self._class, name), learnt)
            case ast.Name(id=name):
                learn(self._scope.names.maps[0], name, learnt)
            case ast.Attribute(value=value, attr=name) if owner := self._type_of(value):
                learn(self._known.attributes, (owner, name), learnt)

    def visit_Call(self, node: ast.Call) -> None:
        function = _name_of(node.func)
        later = _argument(node, "method") if function == CALL_LATER else None
        for part in parts_of(node):
            if part in (node.func, later) and self._is_method(part):
                self._add(Kind.CALL_LATER if part is later else Kind.CALL, self._type_of(part), part)
                self.generic_visit(part)
            else:
                self.visit(part)
        if function == "getattr" and node.args and self._type_of(node.args[0]) in self._generated.methods:
            self._add(Kind.UNRESOLVED, ast.unparse(node), node)
        if function not in CLASS_FUNCTIONS:
            self._add_events(node)

    def _add_events(self, call: ast.Call) -> None:
        """Add the event that a call creates, or whose class it passes to a function that creates it."""
        for part in parts_of(call):
            name = self._generated.of_class(self._types.dotted(part))
            if name in self._generated.events:
                self._add(Kind.EVENT, name, part)

    def visit_Raise(self, node: ast.Raise) -> None:
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        dotted = self._types.dotted(raised) if raised is not None else ""
        if ERRORS in dotted:
            self._add(Kind.RAISED, dotted.rpartition(".")[2], node)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._add_reference(node)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        self._add_reference(node)

    def _add_reference(self, node: ast.Name | ast.Attribute) -> None:
        if not isinstance(node.ctx, ast.Load):
            return
        if self._is_method(node):
            self._add(Kind.REFERENCE, self._type_of(node), node)
        elif isinstance(node, ast.Attribute) and self._may_be_method(node):
            self._add(Kind.UNRESOLVED, ast.unparse(node), node)

    def _type_of(self, node: ast.expr) -> str:
        return self._types.of(node, self._scope)

    def _is_method(self, node: ast.expr) -> bool:
        return "/" in self._type_of(node)

    def _may_be_method(self, node: ast.Attribute) -> bool:
        """Return whether an attribute may be a method of a stub.

        Classes of this folder, generated servicers and generated modules are no stubs.
        """
        if node.attr not in self._generated.method_names:
            return False
        value, found = node.value, self._type_of(node.value)
        is_own_class = found in self._known.bases and "Protocol" not in self._known.bases[found]
        last = self._types.dotted(value).rpartition(".")[2] or _name_of(value)
        names_class = last[:1].isupper() or last.endswith("_pb2")
        return not (is_own_class or found.endswith("Servicer") or names_class)

    def _add(self, kind: Kind, name: str, node: ast.AST) -> None:
        self.uses.append(Use(kind, name, self._module.file, node.lineno))  # type: ignore[attr-defined]  # of every expression


def _has_decorator(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> bool:
    return any(_name_of(decorator) == name for decorator in node.decorator_list)


def _argument(call: ast.Call, keyword: str) -> ast.expr | None:
    return call.args[0] if call.args else next((each.value for each in call.keywords if each.arg == keyword), None)


def _name_of(expression: ast.expr) -> str:
    match expression:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""
