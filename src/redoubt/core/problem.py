"""Errors as a client sees them: RFC 9457 problem details that tell an attacker nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:redoubt:problem:"
_RESERVED = frozenset({"type", "title", "status", "detail", "instance", "code", "request_id"})


class Problem(Exception):
    """A refusal that may be shown to the client (RFC 9457).

    `code` is stable and meant for programs, `title` is one fixed sentence a code, `detail` says what the client
    can do about this request. None of them may hold what the client must not learn: secrets, other people's
    data, the name of a table, a stack.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        *,
        detail: str | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        if not 400 <= status <= 599:
            raise ValueError("a problem has a status from 400 to 599")
        if extra and (clash := _RESERVED & extra.keys()):
            raise ValueError(f"extension members may not replace standard ones: {', '.join(sorted(clash))}")
        super().__init__(f"{status} {code}: {title}")
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    def body(self, request_id: str | None) -> dict[str, Any]:
        """Return the members of the problem object (RFC 9457, section 3.1), extensions last."""
        members: dict[str, Any] = {
            "type": TYPE_PREFIX + self.code,
            "title": self.title,
            "status": self.status,
            "code": self.code,
        }
        if self.detail is not None:
            members["detail"] = self.detail
        if request_id is not None:
            members["request_id"] = request_id
        return members | self.extra


def internal_error() -> Problem:
    """Return the one answer to every unexpected exception: it names nothing but itself."""
    return Problem(500, "internal-error", "Something went wrong on our side.")


def problem_response(problem: Problem, request_id: str | None) -> Response:
    """Return `problem` as an uncacheable HTTP response in `application/problem+json`."""
    content = json.dumps(problem.body(request_id), ensure_ascii=False, separators=(",", ":")).encode()
    headers = {**problem.headers, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(content, status_code=problem.status, headers=headers, media_type=MEDIA_TYPE)
