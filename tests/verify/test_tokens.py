"""Tokens: whoever gets one is noticed, wherever it lies; an app without any has no such subject, and says so."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from redoubt.controls import Finding, Verdict
from redoubt.verify import Options, verify

TARGET = """
auth:
- {name: ann, loginEndpointAuth: {endpoint: /login, payloadUserPwd: {username: ann, password: literal}}}
whoami: {endpoint: /me, member: name}
"""


def jwt(**claims: Any) -> str:
    def part(data: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}.c2lnbmF0dXJl"


@contextmanager
def app(answers: dict[str, dict[str, Any]], header: dict[str, str] | None = None) -> Iterator[str]:
    """Serve JSON by path, from an app that knows nothing of this project."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path)
            body = json.dumps(found or {}).encode()
            self.send_response(404 if found is None else 200)
            for name, value in {"Content-Type": "application/json", **(header or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def lifetime(url: str, tmp_path: Path, target: str = TARGET) -> Finding:
    (tmp_path / "target.yaml").write_text(target)
    report = verify(Options(url, target=tmp_path / "target.yaml", only=("IDN-6",), browser=False))
    return report.of("IDN-6")


def described(**more: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "paths": {"/things": {"get": {"responses": {}}}}, **more}


HOUR, MINUTES = jwt(iat=1_000_000, exp=1_003_600), jwt(iat=1_000_000, exp=1_000_600)


@pytest.mark.parametrize("place", ["/login", "/me", "/things"])
@pytest.mark.parametrize(("token", "verdict"), [(HOUR, Verdict.BROKEN), (MINUTES, Verdict.PROVEN)])
def test_a_token_is_noticed_wherever_a_body_holds_it(
    tmp_path: Path, place: str, token: str, verdict: Verdict
) -> None:
    answers: dict[str, dict[str, Any]] = {"/login": {}, "/me": {"name": "ann"}, "/things": {}, "/": {}}
    answers["/openapi.json"] = described()
    answers[place] = {**answers[place], "deep": [{"key": token}]}
    with app(answers) as url:
        finding = lifetime(url, tmp_path)
    assert finding.verdict is verdict, finding.reason


def test_a_token_in_a_cookie_is_noticed(tmp_path: Path) -> None:
    with app(
        {"/login": {}, "/me": {"name": "ann"}, "/": {}}, {"Set-Cookie": f"session={HOUR}; Path=/"}
    ) as url:
        assert lifetime(url, tmp_path).verdict is Verdict.BROKEN


def test_an_app_that_gives_no_token_has_no_such_subject(tmp_path: Path) -> None:
    with app({"/login": {}, "/me": {"name": "ann"}, "/": {}, "/openapi.json": described()}) as url:
        assert lifetime(url, tmp_path).verdict is Verdict.NOT_APPLICABLE


def test_tokens_that_are_described_but_were_not_seen_stay_open(tmp_path: Path) -> None:
    schemes = {"securitySchemes": {"b": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}}
    answers = {"/login": {}, "/me": {"name": "ann"}, "/": {}, "/openapi.json": described(components=schemes)}
    with app(answers) as url:
        assert lifetime(url, tmp_path).verdict is Verdict.NOT_SHOWN


def test_where_nobody_can_log_in_nothing_is_said_of_tokens(tmp_path: Path) -> None:
    with app({"/": {}}) as url:
        assert lifetime(url, tmp_path, "name: silent\n").verdict is Verdict.NOT_SHOWN
