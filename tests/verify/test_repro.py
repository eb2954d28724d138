"""Replays of what a browser showed: again on an app with the flaw, gone where it is mended, and never gone for want of a victim."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from redoubt.controls import Exchange
from redoubt.verify import FORMATS, Options, TargetInvalid, verify
from redoubt.verify.launch import launched
from redoubt.verify.masking import Masker
from redoubt.verify.probe import Attack
from redoubt.verify.repro import script
from redoubt.verify.target import load

FOREIGN = Path(__file__).parents[1] / "foreign"
PAGES = "drive the pages"


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What driving the pages of the flawed app showed."""
    shown = verify(Options(str(FOREIGN / "flawed"), only=("VAL-5",)))
    found: dict[str, Any] = json.loads(FORMATS["json"](shown))
    return found


def mended(tmp_path: Path, *names: str) -> Path:
    """Return a copy of the flawed app in which these handlers of somebody's task ask whose it is."""
    copy = tmp_path / f"without-{len(names)}"
    shutil.copytree(FOREIGN / "flawed", copy)
    text = (copy / "app.py").read_text()
    for name in names:
        line = re.search(rf"async def {name}\(task_id.*\n", text)
        assert line is not None
        guard = (
            '    if TASKS.get(task_id, {}).get("owner") != user["id"]:\n        raise HTTPException(404)\n'
        )
        text = text.replace(line[0], line[0] + guard)
    (copy / "app.py").write_text(text)
    return copy


@contextmanager
def started(folder: Path) -> Iterator[str]:
    target = load(folder / "target.yaml")
    assert target.start is not None
    with launched(target.start, folder, lambda _: None) as running:
        yield f"http://127.0.0.1:{running.port}"


def replayed(text: str, base: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "repro.py"
    path.write_text(text)
    return subprocess.run(
        [sys.executable, str(path), base], capture_output=True, text=True, timeout=60, check=False
    )


def broke(report: dict[str, Any]) -> dict[str, Any]:
    (control,) = report["controls"]
    (found,) = [one for one in control["evidence"] if one["attack"].startswith(PAGES)]
    assert found["outcome"] == "broke"
    return dict(found)


def test_pages_are_replayed_in_a_new_copy_with_new_people_and_new_things(
    report: dict[str, Any], tmp_path: Path
) -> None:
    text = script(report, "VAL-5", PAGES)
    assert broke(report)["tell"]["by"] == "bob at a screen"
    for folder, code, said in (
        (FOREIGN / "flawed", 1, "STILL THERE"),
        (mended(tmp_path, "task"), 0, "GONE"),
    ):
        with started(folder) as base:
            done = replayed(text, base, tmp_path)
        assert done.returncode == code, done.stdout + done.stderr
        assert said in done.stdout


def test_what_another_wrote_is_looked_for_on_its_owner_s_page(tmp_path: Path) -> None:
    """Where nothing leaks, what is replayed is the writing; its effect is no status, but what the owner sees."""
    half = mended(tmp_path, "task")
    shown = verify(Options(str(half), only=("VAL-5",)))
    report = json.loads(FORMATS["json"](shown))
    tell = broke(report)["tell"]
    assert tell["by"] == "bob at a screen"
    assert broke(report)["exchanges"][tell["exchange"]]["actor"] == "alice at a screen"
    for folder, code in ((half, 1), (mended(tmp_path, "task", "rename"), 0)):
        with started(folder) as base:
            done = replayed(script(report, "VAL-5", PAGES), base, tmp_path)
        assert done.returncode == code, done.stdout + done.stderr


class Refusing(BaseHTTPRequestHandler):
    """Lets everybody in and shows them pages, and takes one task and no more."""

    taken = 0

    def do_GET(self) -> None:
        self._answer(200)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        type(self).taken += self.path == "/tasks"
        self._answer(200 if self.path != "/tasks" else 303 if self.taken == 1 else 403)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Set-Cookie", "session=s")
        if status == 303:
            self.send_header("Location", "/tasks/1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


def test_nothing_is_called_gone_where_nothing_could_be_made(report: dict[str, Any], tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = replayed(script(report, "VAL-5", PAGES), f"http://127.0.0.1:{server.server_port}", tmp_path)
        server.shutdown()
    assert done.returncode == 2, done.stdout
    assert "GONE" not in done.stdout
    assert "alice at a screen could not make what the attack was after: 403" in done.stdout


def test_evidence_without_its_victim_makes_no_script(report: dict[str, Any]) -> None:
    found = broke(report)
    at = found["tell"]["exchange"]
    found |= {"exchanges": found["exchanges"][at:], "tell": {**found["tell"], "exchange": 0}}
    with pytest.raises(TargetInvalid, match="does not hold who put there"):
        script({"controls": [{**report["controls"][0], "evidence": [found]}]}, "VAL-5")


def test_an_attack_is_chosen_by_its_name(report: dict[str, Any]) -> None:
    assert PAGES in script(report, "VAL-5", "Drive")
    assert PAGES not in script(report, "VAL-5")
    with pytest.raises(TargetInvalid, match="no attack of VAL-5 is named so") as error:
        script(report, "VAL-5", "nonsense")
    assert PAGES in str(error.value.hint)


def exchange(actor: str, url: str, body: str = "", **back: str) -> Exchange:
    return Exchange(actor, "127.0.0.1", "POST" if body else "GET", url, {}, body, 200, back, "shown cny1")


def test_a_long_record_keeps_how_people_came_in_and_who_planted_what_shows() -> None:
    attack = Attack("a", "o", before=[exchange("alice", f"/in/{n}") for n in range(60)])
    attack.exchanges = [exchange("bob", f"/in/{n}") for n in range(50)]
    attack.exchanges += [exchange("alice", "/things", "text=cny1")]
    attack.exchanges += [exchange("carol", f"/other/{n}") for n in range(80)]
    attack.exchanges += [exchange("bob", "/things/1"), *(exchange("alice", "/later") for _ in range(9))]
    attack.tell = {"exchange": 131, "status": 200, "contains": "cny1", "by": "bob"}
    found = attack.evidence(Masker())
    assert len(found.exchanges) == 60
    assert found.tell is not None
    urls = [(one.actor, one.url) for one in found.exchanges]
    assert urls[found.tell["exchange"]] == ("bob", "/things/1")
    wanted = [
        ("alice", "/in/0"),
        ("alice", "/in/3"),
        ("bob", "/in/0"),
        ("bob", "/in/3"),
        ("alice", "/things"),
    ]
    assert set(wanted) <= set(urls)


TOKEN = "<csrf:alice>"


class Tokens(BaseHTTPRequestHandler):
    """Takes a note only with the token of the newest page, and leads to it."""

    newest = 0

    def do_GET(self) -> None:
        type(self).newest += 1
        kept = getattr(self.server, "kept", "")
        self._answer(200, f'<input type="hidden" name="csrf_token" value="t{self.newest}"><p>{kept}</p>')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0"))).decode()
        fine = f"csrf_token=t{self.newest}&" in body and self.headers["Origin"] is not None
        if fine:
            self.server.kept = body  # type: ignore[attr-defined]
        self._answer(303 if fine else 403, "", Location="/notes/17" if fine else "/")

    def _answer(self, status: int, text: str, **more: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "text/html", "Content-Length": str(len(text)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


def test_a_token_comes_from_the_page_and_an_id_from_where_a_form_led(tmp_path: Path) -> None:
    canary, base = "cny0123456789abcd", "http://127.0.0.1:1"

    def shown(actor: str, method: str, path: str, body: str, status: int, answer: str, **back: str) -> Any:
        sent = {"method": method, "url": base + path, "headers": {}, "body": body}
        return {"actor": actor, "sent": sent, "received": {"status": status, "headers": back, "body": answer}}

    exchanges = [
        shown("alice", "GET", "/new", "", 200, "a form"),
        shown("alice", "POST", "/notes", f"csrf_token={TOKEN}&text={canary}", 200, canary, location=f"{base}/notes/3"),
        shown("bob", "GET", "/notes/3", "", 200, canary),
    ]  # fmt: skip
    evidence = {
        "attack": "a", "oracle": "o", "outcome": "broke", "detail": "d", "exchanges": exchanges,
        "tell": {"exchange": 2, "status": 200, "contains": canary, "by": "bob"},
    }  # fmt: skip
    control = {"id": "VAL-5", "control": "c", "reason": "r", "evidence": [evidence]}
    with ThreadingHTTPServer(("127.0.0.1", 0), Tokens) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = replayed(
            script({"controls": [control]}, "VAL-5"), f"http://127.0.0.1:{server.server_port}", tmp_path
        )
        server.shutdown()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "GET /notes/17 -> 200" in done.stdout
