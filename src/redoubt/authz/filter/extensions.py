"""Expressions over extension values that no row has a part in: the reference engine says what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import cedarpy
from attrs import frozen
from cedarpy import pst

from ..models import AuthzRequest, Entity, EntityUid
from .mapping import Untranslatable
from .values import FAILED, FALSE, TRUE, Part

_UNKNOWN = object()
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

    def follows(self, expr: Any) -> bool:
        """Say whether `expr` asks an entity that was not given with the question: its row may say what is to be known."""
        return any(self._follows(node) for node in _nodes(expr))

    def _follows(self, node: Any) -> bool:
        match node:
            case pst.GetAttr(base=base):
                return self._elsewhere(self._value(base))
            case pst.HasAttr(base=base, attrs=names):
                value = self._value(base)
                for name in names:
                    if self._elsewhere(value):
                        return True
                    value = self._step(value, name)
                return False
            case pst.BinaryOp(op="in" | "get_tag" | "has_tag"):
                return True
            case pst.Is(in_expr=within):
                return within is not None
        return False

    def _elsewhere(self, value: Any) -> bool:
        return value is _UNKNOWN or (isinstance(value, EntityUid) and self._given(value) is None)

    def _given(self, uid: EntityUid) -> Entity | None:
        return next((entity for entity in self.question.entities if entity.uid == uid), None)

    def _value(self, expr: Any) -> Any:
        match expr:
            case pst.Var(name="principal"):
                return self.question.principal
            case pst.Var(name="action"):
                return self.question.action
            case pst.Var(name="context"):
                return self.question.context
            case pst.GetAttr(base=base, attr=name):
                return self._step(self._value(base), name)
        return _UNKNOWN

    def _step(self, value: Any, name: str) -> Any:
        if isinstance(value, EntityUid):
            entity = self._given(value)
            return _UNKNOWN if entity is None else entity.attrs.get(name)
        return value.get(name) if isinstance(value, Mapping) else value if value is _UNKNOWN else None

    def constant(self, expr: pst.Expr) -> Part:
        """Return what a boolean `expr` is; raises Untranslatable where a row has a part in it or it is no boolean."""
        boolean = isinstance(expr, pst.UnaryOp | pst.BinaryOp) and expr.op in _BOOLEAN
        deep = any(isinstance(node, pst.GetAttr) and not _near(node.base) for node in _nodes(expr))
        if not boolean or deep or self.reads_row(expr) or self.follows(expr):
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
