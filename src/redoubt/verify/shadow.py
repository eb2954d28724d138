"""Routes in the code that the app's description leaves out, read without running anything."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from .openapi import Api

_VERBS = {"get", "post", "put", "patch", "delete", "route", "api_route"}
_SKIPPED = {".venv", "venv", "node_modules", "tests", "test", ".git", "var", "__pycache__"}


def shadow_routes(repo: Path, api: Api) -> list[tuple[str, str, str]]:
    """Return (method, path, file:line) of each route that the code declares and the description does not."""
    known = {(one.method, _shape(one.path)) for one in api.operations}
    found = []
    for method, path, where in routes_in(repo):
        if (method, _shape(path)) not in known and (method, path, where) not in found:
            found.append((method, path, where))
    return sorted(found)


def routes_in(repo: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (method, path, file:line) of each route of a FastAPI, Starlette or Flask app in `repo`."""
    for file in sorted(repo.rglob("*.py")):
        parts = file.relative_to(repo).parts
        if _SKIPPED & set(parts):
            continue
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError, OSError):
            continue
        prefixes = _prefixes(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for one in node.decorator_list:
                    yield from _decorated(one, prefixes, f"{'/'.join(parts)}:{node.lineno}")
            elif isinstance(node, ast.Call) and _name(node.func) == "Route":
                yield from _listed(node, f"{'/'.join(parts)}:{node.lineno}")


def _prefixes(tree: ast.Module) -> dict[str, str]:
    """Return the prefix of each router that is assigned to a name."""
    found = {}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and _name(node.value.func) == "APIRouter"
        ):
            prefix = next((_text(k.value) for k in node.value.keywords if k.arg == "prefix"), "")
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found[target.id] = prefix
    return found


def _decorated(one: ast.expr, prefixes: dict[str, str], where: str) -> Iterator[tuple[str, str, str]]:
    if not (isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr in _VERBS):
        return
    if not one.args or not isinstance(one.args[0], ast.Constant) or not isinstance(one.args[0].value, str):
        return
    owner = one.func.value.id if isinstance(one.func.value, ast.Name) else ""
    path = prefixes.get(owner, "") + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", one.args[0].value)
    methods = [one.func.attr.upper()] if one.func.attr not in ("route", "api_route") else _methods(one)
    for method in methods:
        yield method, path or "/", where


def _listed(node: ast.Call, where: str) -> Iterator[tuple[str, str, str]]:
    if node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
        for method in _methods(node):
            yield method, node.args[0].value, where


def _methods(node: ast.Call) -> list[str]:
    for keyword in node.keywords:
        if keyword.arg == "methods" and isinstance(keyword.value, ast.List | ast.Tuple):
            return [_text(one).upper() for one in keyword.value.elts]
    return ["GET"]


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _shape(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path.rstrip("/") or "/")
