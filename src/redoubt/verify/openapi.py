"""An app's operations and resources, read from its OpenAPI description (3.0 and 3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import field, frozen

_METHODS = ("get", "post", "put", "patch", "delete")
_PARAMETER = re.compile(r"\{([^}]+)\}")


@frozen
class Operation:
    """One method on one path, with what it takes and what the app says of who may."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    permission: str = ""
    open: bool = False
    parameters: tuple[Mapping[str, Any], ...] = ()

    @property
    def key(self) -> str:
        """The operation as target files write it."""
        return f"{self.method} {self.path}"

    @property
    def path_parameters(self) -> list[str]:
        """The names in the path's braces."""
        return _PARAMETER.findall(self.path)

    def at(self, **values: str) -> str:
        """Return the path with its parameters filled; a name that is not given takes the only value there is."""
        only = next(iter(values.values())) if len(values) == 1 else ""
        return _PARAMETER.sub(lambda match: values.get(match[1], only), self.path)


@frozen
class Resource:
    """Objects of one kind: the collection where they are made and listed, and the calls on one of them."""

    name: str
    path: str
    item: str
    create: Operation | None
    listing: Operation | None
    read: Operation | None
    update: Operation | None
    delete: Operation | None
    moves: tuple[Operation, ...] = ()

    def entity(self) -> str:
        """The kind's name as permissions and schemas write it; the path's last word where they do not."""
        for one in (self.create, self.read, self.listing, self.update):
            if one is not None and "." in one.permission:
                return one.permission.split(".", 1)[0]
        return self.name


@frozen
class Api:
    """An app's description: its operations, with references resolved on demand."""

    document: Mapping[str, Any]
    operations: tuple[Operation, ...] = field(init=False)
    _kinds: tuple[Resource, ...] = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "operations", tuple(self._operations()))
        object.__setattr__(self, "_kinds", tuple(self._resources()))

    def resolve(self, schema: Any, depth: int = 0) -> Mapping[str, Any]:
        """Return a schema with its local reference followed, and the first branch of a choice that is not null."""
        if not isinstance(schema, Mapping) or depth > 20:
            return {}
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/"):
            found: Any = self.document
            for part in reference[2:].split("/"):
                found = (
                    found.get(part.replace("~1", "/").replace("~0", "~"), {})
                    if isinstance(found, Mapping)
                    else {}
                )
            return self.resolve(found, depth + 1)
        for choice in ("anyOf", "oneOf"):
            branches = [one for one in schema.get(choice, ()) if one.get("type") != "null"]
            if branches:
                rest = {key: value for key, value in schema.items() if key != choice}
                return {**self.resolve(branches[0], depth + 1), **rest}
        if "allOf" in schema:
            merged: dict[str, Any] = {}
            for part in schema["allOf"]:
                one = self.resolve(part, depth + 1)
                properties = {**merged.get("properties", {}), **one.get("properties", {})}
                required = [*merged.get("required", ()), *one.get("required", ())]
                merged = {**merged, **one, "properties": properties, "required": required}
            return merged
        return schema

    def properties(self, schema: Any) -> dict[str, Mapping[str, Any]]:
        """Return the members of an object's schema."""
        found = self.resolve(schema).get("properties", {})
        return {name: self.resolve(one) for name, one in found.items()} if isinstance(found, Mapping) else {}

    def required(self, schema: Any) -> list[str]:
        """Return the members that an object must have."""
        return [str(name) for name in self.resolve(schema).get("required", ())]

    def find(self, key: str) -> Operation | None:
        """Return the operation that a target file names by `METHOD /path` or by permission."""
        return next((one for one in self.operations if key in (one.key, one.permission)), None)

    @property
    def bearer_tokens(self) -> bool:
        """Whether the description says that some call carries a JWT."""
        schemes = self.document.get("components", {}).get("securitySchemes", {})
        return any(str(one.get("bearerFormat", "")).upper() == "JWT" for one in schemes.values())

    def resources(self) -> list[Resource]:
        """Return the kinds of objects that can be made and reached one by one, in the order of their paths."""
        return [*self._kinds]

    def _resources(self) -> Iterator[Resource]:
        by_path: dict[str, dict[str, Operation]] = {}
        for one in self.operations:
            by_path.setdefault(one.path, {})[one.method] = one
        for path, calls in by_path.items():
            items = [
                other
                for other in by_path
                if re.fullmatch(re.escape(path.rstrip("/")) + r"/\{[^}/]+\}", other)
            ]
            if not items or ("POST" not in calls and "GET" not in calls) or _PARAMETER.search(path):
                continue
            item = by_path[items[0]]
            moves = tuple(
                by_path[other]["POST"]
                for other in by_path
                if re.fullmatch(re.escape(items[0]) + r"/[^{}/]+", other) and "POST" in by_path[other]
            )
            yield Resource(
                path.rstrip("/").rsplit("/", 1)[-1], path, items[0], calls.get("POST"), calls.get("GET"),
                item.get("GET"), item.get("PATCH") or item.get("PUT"), item.get("DELETE"), moves,
            )  # fmt: skip

    def _operations(self) -> Iterator[Operation]:
        paths = self.document.get("paths", {})
        everywhere = self.document.get("security")
        for path, item in paths.items() if isinstance(paths, Mapping) else ():
            shared = item.get("parameters", [])
            for method in _METHODS:
                given = item.get(method)
                if not isinstance(given, Mapping):
                    continue
                security = given.get("security", everywhere)
                yield Operation(
                    method.upper(),
                    str(path),
                    _json(given.get("requestBody", {})),
                    _result(given.get("responses", {})),
                    str(given.get("x-redoubt-permission", given.get("x-permission", ""))),
                    security == [] and "security" in given,
                    (*shared, *given.get("parameters", [])),
                )


def _json(body: Any) -> Mapping[str, Any] | None:
    content = body.get("content", {}) if isinstance(body, Mapping) else {}
    for kind, one in content.items():
        if "json" in kind and isinstance(one, Mapping):
            schema: Mapping[str, Any] = one.get("schema", {})
            return schema
    return None


def _result(responses: Any) -> Mapping[str, Any] | None:
    for status, one in responses.items() if isinstance(responses, Mapping) else ():
        if str(status).startswith("2") and isinstance(one, Mapping) and "content" in one:
            return _json(one)
    return None
