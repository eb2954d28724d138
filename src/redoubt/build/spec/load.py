"""From a file's bytes to a checked `Spec`, or to every problem at once."""

from __future__ import annotations

import copy
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from redoubt.build.errors import SpecInvalid, SpecProblem

from .check import check
from .model import Spec
from .schema import allowed_at, keys_at, nearest, one_of, sample_at
from .yamlread import MAX_BYTES, Document, Path, dotted, read_yaml

_ROUNDS = 40  # each prunes what the round before named; a spec is at most that deep in consequences


def load_spec(path: FilePath) -> Spec:
    """Read and check the spec at `path`.

    Raises SpecInvalid with every problem: of form, of type, and of meaning (a role nobody declared, a feature
    that is declared but not enforced in this version).
    """
    return parse_spec(read_spec(path), str(path))


def read_spec(path: FilePath) -> bytes:
    """Return the bytes of the file, one more than allowed at most; raises SpecInvalid when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        problem = SpecProblem(
            str(path), 1, "", f"a file that cannot be read ({error.strerror})", "a readable YAML file"
        )
        raise SpecInvalid([problem]) from error


def parse_spec(raw: bytes, file: str = "spec.yaml") -> Spec:
    """Check the bytes of a spec; `file` names them in problems. Raises SpecInvalid."""
    document = read_yaml(raw, file)
    problems = list(document.problems)
    if not document.lines:
        raise SpecInvalid(problems)
    if not isinstance(document.data, dict):
        raise SpecInvalid(
            [*problems, _problem(document, (), _describe(document.data), "a mapping of sections")]
        )
    spec, shape, stand_ins = _validate(document)
    problems += shape
    if spec is not None:
        problems += [
            SpecProblem(file, document.line(at), dotted(at), found, allowed)
            for at, found, allowed in check(spec, document.data)
            if not any(at[: len(stand_in)] == stand_in for stand_in in stand_ins)
        ]
    if problems or spec is None:
        raise SpecInvalid(problems)
    return spec


def _validate(document: Document) -> tuple[Spec | None, list[SpecProblem], set[Path]]:
    """Validate; where parts are wrong, set them aside and go on, so that the rest is checked for meaning too.

    Also returns the paths where a value of ours stands in for a broken one: what is said about those is not said.
    """
    data = copy.deepcopy(document.data)
    problems: dict[tuple[Path, str], SpecProblem] = {}
    stand_ins: set[Path] = set()
    for round_ in range(_ROUNDS):
        try:
            return Spec.model_validate(data), list(problems.values()), stand_ins
        except ValidationError as error:
            gone: set[Path] = set()
            for detail in error.errors(include_url=False):
                path = _path(detail, data)
                if round_ == 0:
                    problem = _explain(document, path, detail)
                    problems.setdefault((path, problem.found), problem)
                if detail["type"] != "missing":
                    gone.add(path)
                elif (stand_in := sample_at(data, path)) is not None:
                    _put(data, path, stand_in)
                    stand_ins.add(path)
                else:
                    gone.add(path[:-1])
            for path in sorted(gone, key=lambda path: (len(path), str(path[-1:]).zfill(9)), reverse=True):
                if not path:
                    return None, list(problems.values()), stand_ins
                _remove(data, path)
    return None, list(problems.values()), stand_ins


def _path(detail: ErrorDetails, data: Any) -> Path:
    """Turn pydantic's location into a path of the file: without the tags of unions and keys of keys."""
    path: list[str | int] = []
    location = list(detail["loc"])
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if _holds(data, part):
            path.append(part)
            data = data[part]
        elif last and detail["type"] == "missing":
            path.append(str(part))
    return tuple(path)


def _holds(data: Any, part: str | int) -> bool:
    if isinstance(data, dict):
        return part in data
    return isinstance(data, list) and isinstance(part, int) and part < len(data)


def _explain(document: Document, path: Path, detail: ErrorDetails) -> SpecProblem:
    kind = detail["type"]
    if kind == "missing":
        name = str(path[-1])
        return _problem(document, path, f"no {name}", f"{name}: {allowed_at(document.data, path)}")
    if kind == "extra_forbidden":
        known = keys_at(document.data, path[:-1])
        return _problem(document, path, f"an unknown key{nearest(str(path[-1]), known)}", one_of(known))
    if detail["loc"] and detail["loc"][-1] == "[key]":
        parent = allowed_at(document.data, path[:-1])
        return _problem(document, path, f"the key {path[-1]!r}", parent)
    if kind == "union_tag_not_found":
        tags = keys_at(document.data, path)
        return _problem(document, path, f"no {tags[0] if tags else 'type'}", _tags(document, path))
    if kind == "union_tag_invalid":
        tags = keys_at(document.data, path)
        value = _get(document.data, path)
        tag = value.get(tags[0]) if tags and isinstance(value, dict) else value
        return _problem(document, (*path, tags[0]) if tags else path, _describe(tag), _tags(document, path))
    allowed = allowed_at(document.data, path)
    value = _get(document.data, path)
    # A literal where a reference belongs is most likely the secret itself: it is not repeated.
    found = (
        "a value that is no reference (not shown)" if "reference to a secret" in allowed else _describe(value)
    )
    return _problem(document, path, found, allowed)


def _tags(document: Document, path: Path) -> str:
    keys = keys_at(document.data, path)
    return (
        f"{keys[0]}: {allowed_at(document.data, (*path, keys[0]))}"
        if keys
        else allowed_at(document.data, path)
    )


def _problem(document: Document, path: Path, found: str, allowed: str) -> SpecProblem:
    return SpecProblem(document.file, document.line(path), dotted(path), found, allowed)


def _describe(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "...'"


def _get(data: Any, path: Path) -> Any:
    for part in path:
        if isinstance(data, dict) and isinstance(part, str):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data


def _put(data: Any, path: Path, value: Any) -> None:
    parent = _get(data, path[:-1])
    if isinstance(parent, dict):
        parent[path[-1]] = value


def _remove(data: Any, path: Path) -> None:
    parent = _get(data, path[:-1])
    last = path[-1]
    if isinstance(parent, dict) and isinstance(last, str):
        parent.pop(last, None)
    elif isinstance(parent, list) and isinstance(last, int) and last < len(parent):
        parent.pop(last)
