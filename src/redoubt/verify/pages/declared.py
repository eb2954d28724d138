"""What the target file declares about a page: the operation of the API that it is the face of, and who may do that."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from ..openapi import Api, Operation
from ..target import Target

_PREFIX = re.compile(r"api|rest|v\d+")
_WORDS = {"delete": "DELETE", "remove": "DELETE", "destroy": "DELETE"}


def operation_behind(api: Api | None, method: str, url: str) -> Operation | None:
    """Return the operation that a page's address and method stand for, by the conventions of server-made pages.

    `GET X/new` is the face of `POST X`, `GET X/{id}/edit` and `POST X/{id}` of the change of `X/{id}`,
    `POST X/{id}/delete` of its removal; a prefix such as `/api/v1` may stand before X. None where nothing fits.
    """
    if api is None:
        return None
    for verb, segments in _meanings(method, [one for one in urlsplit(url).path.split("/") if one]):
        fitting = [one for one in api.operations if one.method == verb and _fits(one.path, segments)]
        if fitting:
            return min(fitting, key=lambda one: len(one.path_parameters))
    return None


def _meanings(method: str, segments: list[str]) -> list[tuple[str, list[str]]]:
    last, parent = (segments[-1] if segments else ""), segments[:-1]
    if method == "GET":
        found = [("POST", parent)] if last in ("new", "create", "add") else []
        found += [("PATCH", parent), ("PUT", parent)] if last == "edit" else []
        return found or [("GET", segments)]
    found = [("POST", segments)]
    if last in _WORDS:
        return [*found, (_WORDS[last], parent)]
    if last in ("edit", "update"):
        return [*found, ("PATCH", parent), ("PUT", parent)]
    return [*found, ("PATCH", segments), ("PUT", segments)]


def _fits(template: str, segments: list[str]) -> bool:
    parts = [one for one in template.split("/") if one]
    extra = len(parts) - len(segments)
    if extra < 0 or not all(_PREFIX.fullmatch(one) for one in parts[:extra]):
        return False
    return all(
        part.startswith("{") or part == segment for part, segment in zip(parts[extra:], segments, strict=True)
    )


def granted(target: Target, operation: Operation | None, role: str, *, alike: bool) -> bool | None:
    """Say whether a role may do an operation to what is another's; an empty role is nobody.

    `alike` says that the other has the same role. None where nothing is declared, so that what the app's own pages
    offer must tell. A line's states, amounts, risk and step-up are left out of account: they only ever take away.
    """
    if operation is None:
        return False if not role else None
    if operation.open or operation.key in target.public:
        return True
    if not role:
        return False
    if target.access is not None:
        names = {operation.key, operation.permission} - {""}
        return any(role in line.roles and not line.own and names & set(line.do) for line in target.access)
    return False if alike and operation.path_parameters else None


def reading(api: Api | None, url: str) -> Operation | None:
    """Return the operation that reads one of what an address shows, one or many."""
    found = operation_behind(api, "GET", url)
    if found is None or api is None or found.path_parameters:
        return found
    return next((one.read for one in api.resources() if one.listing is found and one.read), found)
