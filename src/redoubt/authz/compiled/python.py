"""Python functions put together from syntax nodes (the standard library's `ast`), never from text.

Nothing that a policy or a schema says becomes a name or a part of a program: each value, attribute's name and uid goes into
a table of constants, which the function reads by names that are numbered (`k0`, `k1`, …), as are its local variables (`t0`,
`t1`, …). What it may call is given by whoever drafts it; it has no builtins.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, FunctionType
from typing import Any

_LOAD, _STORE = ast.Load(), ast.Store()


class Draft:
    """One function that is being put together."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        """Let the function read `names`, and nothing else by a name."""
        self._globals: dict[str, Any] = {**names, "__builtins__": {}}
        self._constants = 0
        self._locals = 0

    def constant(self, value: Any) -> ast.expr:
        """Return the expression of a value that is known now."""
        name = f"k{self._constants}"
        self._constants += 1
        self._globals[name] = value
        return ast.Name(name, _LOAD)

    def local(self) -> str:
        """Return the name of a new local variable, for `let`."""
        name = f"t{self._locals}"
        self._locals += 1
        return name

    def function(self, parameters: Iterable[str], body: ast.expr) -> Callable[..., Any]:
        """Return the function of `parameters` that returns `body`."""
        arguments = ast.arguments([], [ast.arg(name) for name in parameters], None, [], [], None, [])
        tree = ast.fix_missing_locations(ast.Expression(ast.Lambda(arguments, body)))
        module = compile(tree, "<compiled>", "eval", dont_inherit=True)
        (code,) = (item for item in module.co_consts if isinstance(item, CodeType))
        return FunctionType(code, self._globals, "compiled")


class Later:
    """A function that is compiled at its first call: `run` is it, and raises RuntimeError where that fails."""

    __slots__ = ("_make", "run")

    def __init__(self, make: Callable[[], Callable[..., Any]]) -> None:
        self._make = make
        self.run: Callable[..., Any] = self._first

    def make(self) -> Callable[..., Any]:
        """Compile it now; raises RuntimeError where that fails.

        What goes wrong in the making is never taken for what the function itself raises, which may mean that a policy is
        skipped. Two threads may both come here: they make the same function.
        """
        try:
            self.run = self._make()
        except Exception as error:
            raise RuntimeError("a policy or a schema cannot be compiled") from error
        return self.run

    def _first(self, *args: Any) -> Any:
        return self.make()(*args)


def load(name: str) -> ast.expr:
    """`name`."""
    return ast.Name(name, _LOAD)


def let(name: str, value: ast.expr) -> ast.expr:
    """`(name := value)`."""
    return ast.NamedExpr(ast.Name(name, _STORE), value)


def call(function: str | ast.expr, *args: ast.expr) -> ast.expr:
    """`function(args)`."""
    return ast.Call(load(function) if isinstance(function, str) else function, list(args), [])


def attribute(value: ast.expr, name: str) -> ast.expr:
    """`value.name`, of a name that is Python's, not a policy's."""
    return ast.Attribute(value, name, _LOAD)


def item(value: ast.expr, key: ast.expr) -> ast.expr:
    """`value[key]`."""
    return ast.Subscript(value, key, _LOAD)


def choice(test: ast.expr, then: ast.expr, otherwise: ast.expr) -> ast.expr:
    """`then if test else otherwise`."""
    return ast.IfExp(test, then, otherwise)


def compared(left: ast.expr, operator: type[ast.cmpop], right: ast.expr) -> ast.expr:
    """`left operator right`."""
    return ast.Compare(left, [operator()], [right])


def is_a(value: ast.expr, kind: str) -> ast.expr:
    """`type(value) is kind`."""
    return compared(call("type", value), ast.Is, load(kind))


def calculated(left: ast.expr, operator: type[ast.operator], right: ast.expr) -> ast.expr:
    """`left operator right`."""
    return ast.BinOp(left, operator(), right)


def all_of(*parts: ast.expr) -> ast.expr:
    """`a and b and …`; at least one."""
    return parts[0] if len(parts) == 1 else ast.BoolOp(ast.And(), list(parts))


def any_of(*parts: ast.expr) -> ast.expr:
    """`a or b or …`; at least one."""
    return parts[0] if len(parts) == 1 else ast.BoolOp(ast.Or(), list(parts))


def negated(value: ast.expr) -> ast.expr:
    """`not value`."""
    return ast.UnaryOp(ast.Not(), value)


def tuple_of(items: Iterable[ast.expr]) -> ast.expr:
    """`(items,)`."""
    return ast.Tuple(list(items), _LOAD)


def record(items: Iterable[tuple[ast.expr, ast.expr]]) -> ast.expr:
    """`{key: value, …}`."""
    pairs = list(items)
    return ast.Dict([key for key, _ in pairs], [value for _, value in pairs])
