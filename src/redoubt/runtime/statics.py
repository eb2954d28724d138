"""Static files: the library's own by name, the app's from one folder; nothing else of the disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from redoubt.core.problem import Problem

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}", re.IGNORECASE)
_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
}
_CACHE = {"Cache-Control": "public, max-age=300"}


def library_route(path: str, file: Path) -> Route:
    """Return the route of one file of the library."""
    kind = _TYPES[file.suffix]

    async def send(_request: Request) -> Response:
        return FileResponse(file, media_type=kind, headers=_CACHE)

    send.__redoubt_permission__ = "public"  # type: ignore[attr-defined]
    return Route(path, send, methods=["GET"])


def folder_route(prefix: str, folder: Path) -> Route:
    """Return the route of an app's own static files: flat names, known types, no listing, no links out."""

    async def send(request: Request) -> Response:
        name = request.path_params["name"]
        file = folder / name
        if not _NAME.fullmatch(name) or file.suffix not in _TYPES or file.is_symlink() or not file.is_file():
            raise Problem(404, "not-found", "There is nothing here.")
        return FileResponse(file, media_type=_TYPES[file.suffix], headers=_CACHE)

    send.__redoubt_permission__ = "public"  # type: ignore[attr-defined]
    return Route(f"{prefix}/{{name}}", send, methods=["GET"])


def known_types() -> Mapping[str, str]:
    """Return the file types that are served at all."""
    return dict(_TYPES)
