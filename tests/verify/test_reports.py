"""Reports: schema-valid JSON, self-contained HTML, plain text, and scripts that replay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pytest

from redoubt.controls import Check, Evidence, Exchange, Finding, Outcome, Verdict
from redoubt.verify import Options, Report, as_html, as_json, as_text
from redoubt.verify.errors import TargetInvalid
from redoubt.verify.launch import Running, launched
from redoubt.verify.report import schema
from redoubt.verify.repro import script
from redoubt.verify.target import load

FOREIGN = Path(__file__).parents[1] / "foreign"
NASTY = '<script>alert(1)</script>"&'


@pytest.fixture
def report() -> Report:
    exchange = Exchange(
        "alice",
        "127.11.1.1",
        "POST",
        f"http://x/{NASTY}",
        {"Cookie": "s=<cookie:alice>"},
        NASTY,
        200,
        {},
        NASTY,
    )
    broke = Evidence(
        "steal",
        "it leaks",
        Outcome.BROKE,
        NASTY,
        (exchange,),
        (Check("the owner can", True, NASTY),),
        {"exchange": 0, "status": 200, "contains": "x", "by": "bob"},
    )
    held = Evidence("ask", "it leaks", Outcome.HELD)
    findings = (
        Finding.of("IDN-1", [held]),
        Finding.of("AUZ-1", [broke, held]),
        Finding("PAY-1", Verdict.NOT_APPLICABLE, "the app charges no money"),
        Finding("WHK-1", Verdict.NOT_SHOWN, NASTY, add="webhooks: [<here>]"),
    )
    return Report("./app", 7, "2026-01-01T00:00:00+00:00", 12.3, findings)


def test_the_json_report_keeps_to_its_schema(report: Report) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(json.loads(as_json(report)), schema())


def test_the_published_schema_is_the_one_in_use() -> None:
    published = Path(__file__).parents[2] / "docs" / "reference" / "verify.schema.json"
    assert json.loads(published.read_text()) == schema()


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_html_report_loads_and_runs_nothing(report: Report) -> None:
    page = _Page()
    page.feed(as_html(report))
    names = [tag for tag, _ in page.tags]
    assert not {"script", "img", "link", "iframe", "form"} & set(names)
    for tag, given in page.tags:
        assert "style" not in given, tag
        assert not [name for name in given if name.startswith("on")]
        assert not str(given.get("src", "")) or tag == "x"
        assert tag != "a" or str(given["href"]).startswith("#")
    ids = [given["id"] for _, given in page.tags if "id" in given]
    assert len(ids) == len(set(ids))
    assert ("html", {"lang": "en"}) in page.tags
    assert names.count("h1") == 1


def test_reports_show_hostile_text_as_text(report: Report) -> None:
    assert "<script>alert" not in as_html(report)
    assert "&lt;script&gt;alert(1)" in as_html(report)


def test_the_text_report_says_what_each_verdict_means(report: Report) -> None:
    text = as_text(report)
    assert "✓ proven     IDN-1" in text
    assert "✗ broken     AUZ-1" in text
    assert "add: webhooks" in text
    assert "1 proven, 1 broken, 1 not applicable, 1 not shown" in text


def test_only_what_was_sent_can_be_replayed(report: Report) -> None:
    data = json.loads(as_json(report))
    assert "AUZ-1" in script(data, "auz-1")
    for control in ("IDN-1", "PAY-1", "SUP-1"):
        with pytest.raises(TargetInvalid):
            script(data, control)


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    from redoubt.verify import verify

    wanted = ("AUZ-1", "AUZ-6", "AUZ-7", "WHK-1", "IDN-2")
    found = verify(Options(str(FOREIGN / "flawed"), only=wanted, browser=False))
    return json.loads(as_json(found))


def _start(name: str) -> Iterator[Running]:
    folder = FOREIGN / name
    target = load(folder / "target.yaml")
    assert target.start is not None
    with launched(target.start, folder, lambda _: None) as running:
        yield running


@pytest.fixture(scope="module")
def flawed() -> Iterator[Running]:
    yield from _start("flawed")


@pytest.fixture(scope="module")
def sound() -> Iterator[Running]:
    yield from _start("sound")


def _replay(
    findings: dict[str, object], control: str, running: Running, tmp_path: Path
) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "repro.py"
    path.write_text(script(findings, control))
    return subprocess.run(
        [sys.executable, str(path), f"http://127.0.0.1:{running.port}"],
        capture_output=True, text=True, timeout=60, env={**os.environ, **running.secrets},
    )  # fmt: skip


@pytest.mark.parametrize("control", ["AUZ-1", "AUZ-7", "WHK-1", "IDN-2"])
def test_a_script_shows_again_what_was_broken(
    findings: dict[str, object], control: str, flawed: Running, tmp_path: Path
) -> None:
    done = _replay(findings, control, flawed, tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "STILL THERE" in done.stdout


@pytest.mark.parametrize("control", ["AUZ-7", "WHK-1"])
def test_the_script_finds_nothing_once_it_is_fixed(
    findings: dict[str, object], control: str, sound: Running, tmp_path: Path
) -> None:
    done = _replay(findings, control, sound, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "GONE" in done.stdout


def test_no_secret_stands_in_the_report(findings: dict[str, object]) -> None:
    text = json.dumps(findings)
    assert "<password:" in text
    assert "<cookie session:" in text
    assert '"password": "Pw-' not in text
