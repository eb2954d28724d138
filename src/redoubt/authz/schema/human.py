"""Cedar's schema in its human form, by a grammar of ours (the reference's "Human-readable schema grammar")."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken, v_args
from lark.exceptions import VisitError

from .errors import Misread
from .raw import (
    BUILTIN,
    RESERVED_TYPES,
    Place,
    RawAction,
    RawAttribute,
    RawCommon,
    RawEntity,
    RawGroup,
    RawName,
    RawNamespace,
    RawRecord,
    RawSet,
    RawType,
)

_GRAMMAR = r"""
start: (namespace | declaration)*
namespace: annotations "namespace" path "{" declaration* "}"
?declaration: entity | enum | action | common
entity: annotations "entity" idents [_IN paths] ["="] [record] ["tags" type] ";"
enum: annotations "entity" idents "enum" "[" STRING ("," STRING)* "]" ";"
action: annotations "action" names [_IN groups] ["appliesTo" "{" applies ("," applies)* [","] "}"] ["attributes" "{" "}"] ";"
common: annotations "type" ident "=" type ";"

annotations: annotation*
annotation: "@" (ident | RESERVED) ["(" STRING ")"]
          | "@" _IN ["(" STRING ")"] -> annotation_in
idents: ident ("," ident)*
names: name ("," name)*
groups: group | "[" group ("," group)* "]"
group: ident ("::" ident)* "::" STRING -> far_group
     | name -> near_group
paths: path | "[" [path ("," path)*] "]"
applies: PRINCIPAL ":" paths | RESOURCE ":" paths | CONTEXT ":" (named | record)
?type: named | "Set" "<" type ">" -> set | record
named: path
record: "{" [attribute ("," attribute)* [","]] "}"
attribute: annotations name [OPTIONAL] ":" type
path: ident ("::" ident)*
name: ident | STRING
!ident: IDENT | "namespace" | "entity" | "enum" | "action" | "type" | "tags" | "appliesTo" | "attributes" | "Set"
      | PRINCIPAL | RESOURCE | CONTEXT

PRINCIPAL: "principal"
RESOURCE: "resource"
CONTEXT: "context"
OPTIONAL: "?"
_IN.2: /in\b/
RESERVED.2: /(true|false|if|then|else|is|like|has)\b/
IDENT: /[A-Za-z_][A-Za-z0-9_]*/
STRING: /"(\\[\s\S]|[^"\\])*"/
%ignore /\s+/
%ignore /\/\/[^\r\n]*/
"""
_ESCAPE = re.compile(r"\\(?:x([0-7][0-9A-Fa-f])|u\{((?:[0-9A-Fa-f]_*){1,6})\}|([\s\S]))")
_SIMPLE = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "0": "\0", "'": "'", '"': '"'}
_T = TypeVar("_T")
_Declare = Callable[[RawNamespace], None]


def read_human(text: str) -> list[RawNamespace]:
    """Read the human form; raises Misread at the first fault."""
    try:
        return _parser().parse(text)  # type: ignore[return-value]
    except UnexpectedCharacters as error:
        raise Misread(f"unexpected character {error.char!r}", (error.line, error.column)) from None
    except UnexpectedToken as error:
        if error.token.type == "$END":
            raise Misread("the schema ends too early", _end(text)) from None
        raise Misread(f"unexpected {str(error.token)[:40]!r}", _at(error.token)) from None
    except UnexpectedInput as error:
        raise Misread("unreadable", (error.line, error.column)) from None
    except VisitError as error:
        if isinstance(error.orig_exc, Misread):
            raise error.orig_exc from None
        raise


@cache
def _parser() -> Lark:
    # The values are built while parsing, so that depth of nesting never is depth of calls.
    return Lark(_GRAMMAR, parser="lalr", lexer="basic", transformer=_Build(), maybe_placeholders=True)


def _end(text: str) -> Place:
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def _at(token: Token) -> Place:
    return token.line or 1, token.column or 1


def _unescape(token: Token) -> str:
    def one(match: re.Match[str]) -> str:
        low, wide, plain = match.groups()
        if low is not None:
            return chr(int(low, 16))
        if wide is not None:
            code = int(wide.replace("_", ""), 16)
            if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF:
                return chr(code)
        elif plain in _SIMPLE:
            return _SIMPLE[plain]
        raise Misread(f"unknown escape {match.group()!r} in a string", _at(token))

    return _ESCAPE.sub(one, token[1:-1])


def _declare(table: dict[str, _T], names: Sequence[tuple[str, Place]], value: Callable[[Place], _T]) -> None:
    for name, at in names:
        if name in table:
            raise Misread(f"{name!r} is declared twice", at)
        table[name] = value(at)


@v_args(inline=True)
class _Build(Transformer[Token, Any]):
    """Builds raw values from the grammar's rules, innermost first."""

    def start(self, *items: RawNamespace | _Declare) -> list[RawNamespace]:
        outer = RawNamespace("")
        spaces = {"": outer}
        for item in items:
            if isinstance(item, RawNamespace):
                spaces[item.name] = item
            else:
                item(outer)
        names = [item.name for item in items if isinstance(item, RawNamespace)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise Misread(f"the namespace {twice} is declared twice", (1, 1))
        return list(spaces.values())

    def namespace(self, _annotations: dict[str, str], path: RawName, *items: _Declare) -> RawNamespace:
        if BUILTIN in path.path.split("::"):
            raise Misread(f"the namespace {BUILTIN} is reserved", path.at)
        space = RawNamespace(path.path)
        for item in items:
            item(space)
        return space

    def entity(
        self,
        annotations: dict[str, str],
        names: list[Token],
        parents: list[RawName] | None,
        shape: RawRecord | None,
        tags: RawType | None,
    ) -> _Declare:
        def value(at: Place) -> RawEntity:
            return RawEntity(at, parents or (), shape, tags, None, annotations)

        return lambda space: _declare(space.entities, self._types(names), value)

    def enum(self, annotations: dict[str, str], names: list[Token], *ids: Token) -> _Declare:
        values = tuple(_unescape(token) for token in ids)

        def value(at: Place) -> RawEntity:
            return RawEntity(at, enum=values, annotations=annotations)

        return lambda space: _declare(space.entities, self._types(names), value)

    def action(
        self,
        annotations: dict[str, str],
        names: list[tuple[str, Place]],
        groups: list[RawGroup] | None,
        *rest: tuple[Token, Any] | None,
    ) -> _Declare:
        found: dict[str, Any] = {}
        for item in rest:
            if item is None:
                continue
            key, part = item
            if str(key) in found:
                raise Misread(f"{key} is declared twice", _at(key))
            if part == []:
                raise Misread(f"{key} needs at least one type", _at(key))
            found[str(key)] = part
        if found and not {"principal", "resource"} <= found.keys():
            raise Misread("appliesTo needs both principal and resource", names[0][1])

        def value(at: Place) -> RawAction:
            return RawAction(
                at,
                groups or (),
                found.get("principal", ()),
                found.get("resource", ()),
                found.get("context"),
                annotations,
            )

        return lambda space: _declare(space.actions, names, value)

    def common(self, _annotations: dict[str, str], name: Token, body: RawType) -> _Declare:
        if name in RESERVED_TYPES:
            raise Misread(f"no type may be called {name}", _at(name))
        return lambda space: _declare(space.commons, self._types([name]), lambda at: RawCommon(body, at))

    def annotations(self, *pairs: tuple[Token, str]) -> dict[str, str]:
        result: dict[str, str] = {}
        for key, text in pairs:
            if str(key) in result:
                raise Misread(f"the annotation @{key} stands twice", _at(key))
            result[str(key)] = text
        return result

    def annotation(self, key: Token, text: Token | None) -> tuple[Token, str]:
        return key, "" if text is None else _unescape(text)

    def annotation_in(self, text: Token | None) -> tuple[Token, str]:
        return Token("RESERVED", "in"), "" if text is None else _unescape(text)

    def idents(self, *names: Token) -> list[Token]:
        return list(names)

    def names(self, *names: tuple[str, Place]) -> list[tuple[str, Place]]:
        return list(names)

    def groups(self, *groups: RawGroup) -> list[RawGroup]:
        return list(groups)

    def far_group(self, *parts: Token) -> RawGroup:
        *path, identity = parts
        return RawGroup("::".join(path), _unescape(identity), _at(path[0]))

    def near_group(self, name: tuple[str, Place]) -> RawGroup:
        return RawGroup(None, *name)

    def paths(self, *paths: RawName | None) -> list[RawName]:
        return [path for path in paths if path is not None]

    def applies(self, key: Token, part: Any) -> tuple[Token, Any]:
        return key, part

    def named(self, path: RawName) -> RawName:
        return path

    def set(self, element: RawType) -> RawSet:
        return RawSet(element)

    def record(self, *attributes: tuple[tuple[str, Place], RawAttribute] | None) -> RawRecord:
        # The reference lets a later attribute of the same name win; so do we, or we would disagree.
        given = [item for item in attributes if item is not None]
        at = given[0][0][1] if given else (1, 1)
        return RawRecord({name: attribute for (name, _), attribute in given}, at)

    def attribute(
        self, annotations: dict[str, str], name: tuple[str, Place], optional: Token | None, body: RawType
    ) -> tuple[tuple[str, Place], RawAttribute]:
        return name, RawAttribute(body, optional is None, annotations)

    def path(self, *idents: Token) -> RawName:
        return RawName("::".join(idents), _at(idents[0]))

    def name(self, token: Token) -> tuple[str, Place]:
        return (_unescape(token) if token.type == "STRING" else str(token)), _at(token)

    def ident(self, token: Token) -> Token:
        return token

    @staticmethod
    def _types(names: Sequence[Token]) -> list[tuple[str, Place]]:
        for name in names:
            if name == BUILTIN:
                raise Misread(f"the name {BUILTIN} is reserved", _at(name))
        return [(str(name), _at(name)) for name in names]
