"""YAML read as plain data, with the line of every node.

A subset on purpose: YAML 1.2's scalars (`no` is text, not false), no anchors or aliases (which can grow a
kilobyte into a gigabyte), no tags, no merge keys, no duplicate keys, one document, bounded size and depth.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from attrs import field, frozen

from redoubt.build.errors import SpecProblem

MAX_BYTES = 256 * 1024
MAX_DEPTH = 24
Path = tuple[str | int, ...]

_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\Z")
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_FLOAT = re.compile(r"[-+]?[0-9]+\.[0-9]+\Z")


@frozen
class Document:
    """A parsed file: its data, the line of each path in it, and what was wrong with it as YAML."""

    file: str
    data: Any
    lines: Mapping[Path, int]
    problems: tuple[SpecProblem, ...] = field(default=())

    def line(self, path: Path) -> int:
        """Return the line of `path`, or of its nearest ancestor that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class _Loader(yaml.SafeLoader):
    """SafeLoader without implicit types: `_scalar` decides them."""


_Loader.yaml_implicit_resolvers = {}


def read_yaml(raw: bytes, file: str) -> Document:
    """Parse `raw`; problems of form are gathered, not raised, so that the rest can still be checked."""

    def broken(line: int, found: str, allowed: str) -> Document:
        return Document(file, None, {}, (SpecProblem(file, line, "", found, allowed),))

    if len(raw) > MAX_BYTES:
        return broken(1, f"{len(raw)} bytes", f"at most {MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return broken(raw[: error.start].count(b"\n") + 1, "bytes that are not UTF-8", "UTF-8 text")
    problems: list[SpecProblem] = []
    try:
        events = _refuse_tricks(text, file, problems)
        if problems:
            return Document(file, None, {}, tuple(problems))
        if not events:
            return broken(1, "an empty file", "a mapping of sections")
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = (error.problem or error.context or "broken YAML").splitlines()[0]
        return broken(1 + (0 if mark is None else mark.line), f"broken YAML ({reason})", "well-formed YAML")
    except (yaml.YAMLError, RecursionError) as error:
        return broken(1, f"broken YAML ({str(error).splitlines()[0][:80]})", "well-formed YAML")
    lines: dict[Path, int] = {}
    data = _build(node, (), lines, problems, file) if node is not None else None
    return Document(file, data, lines, tuple(problems))


def _refuse_tricks(text: str, file: str, problems: list[SpecProblem]) -> int:
    """Walk the event stream, which expands nothing, and name whatever we do not read."""
    depth = 0
    documents = 0
    count = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = 1 + (event.start_mark.line if event.start_mark is not None else 0)

        def refuse(found: str, allowed: str, line: int = line) -> None:
            problems.append(SpecProblem(file, line, "", found, allowed))

        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                refuse("a second document (---)", "one document a file")
                return count
        elif isinstance(event, yaml.AliasEvent):
            refuse(f"the alias *{event.anchor}", "the value written out; anchors and aliases are not read")
            continue
        elif isinstance(event, yaml.NodeEvent):
            count += 1
            if event.anchor is not None:
                refuse(
                    f"the anchor &{event.anchor}", "the value written out; anchors and aliases are not read"
                )
            tag = getattr(event, "tag", None)
            if tag is not None:
                refuse(f"the tag {tag}", "plain text, numbers, true, false and null")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                refuse(f"more than {MAX_DEPTH} levels", f"at most {MAX_DEPTH} levels")
                return count
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return count


def _build(
    node: yaml.Node, path: Path, lines: dict[Path, int], problems: list[SpecProblem], file: str
) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        if _UNFIT.search(node.value):
            line = node.start_mark.line + 1
            problems.append(SpecProblem(file, line, dotted(path), "a control character", "printable text"))
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, index), lines, problems, file) for index, item in enumerate(node.value)]
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            problems.append(SpecProblem(file, line, dotted(path), "a key that is a collection", "text keys"))
            continue
        key = key_node.value
        if key == "<<":
            problems.append(SpecProblem(file, line, dotted(path), "the merge key <<", "keys written out"))
            continue
        if key in result:
            first = lines[(*path, key)]
            problems.append(
                SpecProblem(
                    file,
                    line,
                    dotted((*path, key)),
                    f"the key again (first in line {first})",
                    "each key once",
                )
            )
            continue
        lines[(*path, key)] = line
        result[key] = _build(value_node, (*path, key), lines, problems, file)
    return result


def _scalar(node: yaml.ScalarNode) -> Any:
    """Type a plain scalar as YAML 1.2's core schema does; quoted ones are text."""
    value: str = node.value
    if node.style is not None:
        return value
    if value in ("", "~", "null"):
        return None
    if value in ("true", "false"):
        return value == "true"
    if _INT.match(value):
        return int(value)
    if _FLOAT.match(value):
        return float(value)
    return value


def dotted(path: Path) -> str:
    """Spell a path as people write it: `entities.Order.fields.total`, `permissions[2].roles[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text
