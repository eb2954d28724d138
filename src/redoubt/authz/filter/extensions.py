"""Expressions over extension values that no row has a part in: the reference engine says what they are."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import cedarpy
from attrs import frozen
from cedarpy import pst

from ..models import AuthzRequest
from .mapping import Untranslatable
from .values import FAILED, FALSE, TRUE, Part

_MAKERS = frozenset({"ip", "decimal", "datetime", "duration"})
EXTENSION_OPERATORS = frozenset(
    {
        "is_ipv4",
        "is_ipv6",
        "is_loopback",
        "is_multicast",
        "to_date",
        "to_time",
        "to_milliseconds",
        "to_seconds",
    }
    | {"to_minutes", "to_hours", "to_days", "is_in_range", "offset", "duration_since"}
    | {"decimal_less_than", "decimal_less_eq", "decimal_greater", "decimal_greater_eq"}
)
_BOOLEAN = frozenset(
    {"is_ipv4", "is_ipv6", "is_loopback", "is_multicast", "is_in_range", "eq", "not_eq", "not"}
    | {"less", "less_eq", "greater", "greater_eq", "decimal_less_than", "decimal_less_eq"}
    | {"decimal_greater", "decimal_greater_eq", "contains", "contains_all", "contains_any", "is_empty"}
)


def uses_extensions(expr: Any) -> bool:
    """Say whether an extension's constructor or operator stands anywhere in `expr`."""
    return any(
        isinstance(node, pst.UnaryOp | pst.BinaryOp) and node.op in (_MAKERS | EXTENSION_OPERATORS)
        for node in _nodes(expr)
    )


@frozen
class Judge:
    """Asks the reference engine about the question's principal, action, context and entities.

    `of_row` names the fields of the context that are the row's.
    """

    question: AuthzRequest
    of_row: frozenset[str] = frozenset()

    def reads_row(self, expr: Any) -> bool:
        """Say whether the resource, or a field of the context that is the row's, stands anywhere in `expr`."""
        bare = 0
        for node in _nodes(expr):
            match node:
                case pst.Var(name="resource"):
                    return True
                case pst.Var(name="context"):
                    bare += 1
                case pst.GetAttr(base=pst.Var(name="context"), attr=name) if name not in self.of_row:
                    bare -= 1
                case pst.HasAttr(base=pst.Var(name="context"), attrs=names) if names[0] not in self.of_row:
                    bare -= 1
        return bool(self.of_row) and bare > 0

    def constant(self, expr: pst.Expr) -> Part:
        """Return what a boolean `expr` is; raises Untranslatable where a row has a part in it or it is no boolean."""
        boolean = isinstance(expr, pst.UnaryOp | pst.BinaryOp) and expr.op in _BOOLEAN
        deep = any(isinstance(node, pst.GetAttr) and not _near(node.base) for node in _nodes(expr))
        if not boolean or deep or self.reads_row(expr):
            raise Untranslatable("an extension value that a row has a part in.", hint="Decide row by row.")
        policy = pst.Template(
            "asked",
            "permit",
            pst.ScopeAny(),
            pst.ScopeAny(),
            pst.ScopeAny(),
            (pst.When(expr),),
            pst.FrozenMap(),
        )
        engine = cedarpy.PolicySet.from_pst(pst.PolicySet({}, {"asked": policy}, ()))
        values = self.question.values()
        asked = {key: values[key] for key in ("principal", "action", "resource", "context")}
        answer = cedarpy.is_authorized(asked, engine, values["entities"])
        if answer.diagnostics.errors:
            return FAILED
        return TRUE if answer.decision is cedarpy.Decision.Allow else FALSE


def _near(base: Any) -> bool:
    while isinstance(base, pst.GetAttr):
        base = base.base
    return isinstance(base, pst.Var) and base.name in ("principal", "context")


def _nodes(expr: Any) -> Any:
    waiting = [expr]
    while waiting:
        node = waiting.pop()
        if isinstance(node, tuple):
            waiting += node
        elif isinstance(node, dict):
            waiting += node.values()
        elif is_dataclass(node) and not isinstance(node, type):
            yield node
            waiting += [getattr(node, item.name) for item in fields(node)]
