"""A build replaces a tree whole or not at all, and never touches what is not its own."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from redoubt.build.builder import build, check, make, plan
from redoubt.build.errors import BuildInterrupted, EditedFiles, MissingHandler, NotOurTarget, SpecInvalid
from redoubt.build.swap import exclusive, recover, staging

SPEC = """\
redoubt: 1
app: {name: small, title: Small}
roles: {operator: {}, member: {sign_up: true}}
entities:
  Note: {fields: {text: {type: text, required: true, max: 100}}}
permissions:
  - {roles: [member], actions: [Note.create, Note.list]}
pages:
  own: {about: {title: About, public: true}}
webhooks:
  incoming:
    source: {scheme: standard, secrets: ["env:SOURCE_SECRET"], handler: {kind: custom, function: on_source}}
"""
NEXT = SPEC.replace("  Note:", "  Memo: {fields: {text: {type: text, max: 9}}}\n  Note:").replace(
    "title: Small", "title: Larger"
)
SHRUNK = SPEC.replace(
    "entities:\n  Note: {fields: {text: {type: text, required: true, max: 100}}}\npermissions:\n  - {roles: [member], actions: [Note.create, Note.list]}\n",
    "",
)


def state(out: Path) -> dict[str, str]:
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def out(spec: Path, tmp_path: Path) -> Path:
    target = tmp_path / "out"
    build(spec, target)
    return target


def test_building_again_changes_nothing(spec: Path, out: Path):
    before = state(out)
    assert build(spec, out).nothing
    assert state(out) == before
    assert check(spec, out) == []
    assert not staging(out).exists()


def test_a_bad_spec_writes_nothing(spec: Path, out: Path, tmp_path: Path):
    before = state(out)
    spec.write_text(SPEC.replace("redoubt: 1", "redoubt: 9"))
    with pytest.raises(SpecInvalid):
        build(spec, out)
    with pytest.raises(SpecInvalid):
        build(spec, tmp_path / "other")
    assert state(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "spec.yaml"]


def test_edits_are_named_and_nothing_is_overwritten(spec: Path, out: Path):
    (out / "app/main.py").write_text("# mine\n")
    (out / "policies/note.cedar").unlink()
    spec.write_text(NEXT)
    before = state(out)
    for act in (build, lambda *args: list(plan(*args))):
        with pytest.raises(EditedFiles) as caught:
            act(spec, out)
        assert caught.value.paths == ("app/main.py", "policies/note.cedar")
    assert state(out) == before


def test_drift_is_told_by_path(spec: Path, out: Path):
    (out / "app/main.py").write_text("# mine\n")
    (out / "Dockerfile").unlink()
    assert check(spec, out) == ["missing: Dockerfile", "differs: app/main.py"]
    spec.write_text(SHRUNK)
    assert "no longer made: app/notes.py" in check(spec, out)


def test_what_is_yours_stays(spec: Path, out: Path):
    mine = {
        "app/handlers.py": "def on_source(tx, delivery):\n    return None\n",
        "app/extra.py": "# mine\n",
        "app/pages/about.html": "<p>mine</p>\n",
        "app/pages/new.html": "new\n",
        "app/notes_helper.py": "# new\n",
        "var/app.db": "data\n",
        ".git/HEAD": "ref\n",
        ".venv/bin/python": "x\n",
    }
    for name, text in mine.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    inodes = {name: (out / name).stat().st_ino for name in mine}
    spec.write_text(NEXT)
    changed = build(spec, out)
    approved = "tests/decisions.json"  # a person approves the table of decisions; a build does not
    assert set(changed.kept) == {"app/handlers.py", "app/extra.py", "app/pages/about.html", approved}
    assert {name: (out / name).read_text() for name in mine} == mine
    assert {name: (out / name).stat().st_ino for name in mine} == inodes
    assert check(spec, out) == []


def test_a_file_of_yours_where_one_would_be_made_is_named(spec: Path, out: Path):
    (out / "app/memos.py").write_text("# mine\n")
    spec.write_text(NEXT)
    with pytest.raises(EditedFiles) as caught:
        build(spec, out)
    assert caught.value.paths == ("app/memos.py",)
    assert (out / "app/memos.py").read_text() == "# mine\n"


def test_a_handler_that_the_spec_names_has_to_be_there(spec: Path, out: Path):
    (out / "app/handlers.py").write_text("def other(tx, delivery): ...\n")
    with pytest.raises(MissingHandler, match="on_source"):
        build(spec, out)


def test_what_the_spec_no_longer_makes_is_removed(spec: Path, out: Path):
    spec.write_text(SHRUNK)
    build(spec, out, new_tables=True)
    assert not (out / "app/notes.py").exists()
    assert not (out / ".redoubt/base/app/notes.py").exists()
    fresh = out.parent / "fresh"
    build(spec, fresh)
    approved = (out / "tests/decisions.json").read_text()
    assert "Note" in approved, "what was approved before stays until a person approves the new table"
    (out / "tests/decisions.json").write_text((fresh / "tests/decisions.json").read_text())
    assert state(out) == state(fresh)


def test_a_folder_of_others_is_left_alone(spec: Path, tmp_path: Path):
    target = tmp_path / "theirs"
    target.mkdir()
    (target / "thesis.txt").write_text("years\n")
    with pytest.raises(NotOurTarget):
        build(spec, target)
    assert state(target).keys() == {"thesis.txt"}


def test_a_plan_tells_and_writes_nothing(spec: Path, out: Path):
    before = state(out)
    spec.write_text(NEXT)
    told = "\n".join(plan(spec, out))
    for part in ("+ app/memos.py", "~ app/main.py", 'title="Larger"', "The tables change, by a migration"):
        assert part in told, part
    assert state(out) == before


def test_one_build_at_a_time(spec: Path, out: Path):
    with exclusive(out), pytest.raises(BuildInterrupted, match="another build"):
        build(spec, out)


KILLED = """
import os, pickle, signal, sys
from pathlib import Path
from redoubt.build import builder
made = pickle.loads(Path(sys.argv[1]).read_bytes())
builder.parse_spec = builder.read_spec = lambda *_: None
builder.make = lambda *_, **__: made
left = int(sys.argv[3])
def counted(real):
    def call(*args, **more):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return real(*args, **more)
    return call
for name in ("rename", "link", "unlink", "replace"):
    setattr(os, name, counted(getattr(os, name)))
builder.build(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def prepared(spec: Path) -> Path:
    """What the spec makes, kept for children that are killed: making it anew each time would only be slow."""
    path = spec.with_suffix(".made")
    path.write_bytes(pickle.dumps(make(spec)))
    return path


def killed(code: str, made: Path, out: Path, moment: int) -> int:
    command = [sys.executable, "-c", code, str(made), str(out), str(moment)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_killed_at_any_moment_the_old_tree_stands(spec: Path, out: Path):
    """SIGKILL before each rename, link and unlink of a build that adds, replaces and removes."""
    (out / "var").mkdir()
    (out / "var/app.db").write_text("data\n")
    old = state(out)
    spec.write_text(
        NEXT.replace(
            "  own: {about: {title: About, public: true}}", "  own: {help: {title: Help, public: true}}"
        )
    )
    made = prepared(spec)
    ends = []
    for moment in [0, 1, 2, 5, 13, 34, 60, 75, 10_000]:
        done = killed(KILLED, made, out, moment)
        assert done in (0, -signal.SIGKILL)
        recover(out)
        now = state(out)
        ends.append(now == old)
        assert now == old or check(spec, out) == [], moment
        assert not staging(out).exists()
    assert ends[:5] == [True] * 5
    assert ends == sorted(ends, reverse=True), "once the new tree stands it stays"
    assert not ends[-1]
    assert check(spec, out) == []
    assert (out / "var/app.db").read_text() == "data\n"


def test_killed_while_undoing_the_old_tree_still_comes_back(spec: Path, out: Path):
    old = state(out)
    spec.write_text(NEXT)
    made = prepared(spec)
    assert killed(KILLED, made, out, 40) == -signal.SIGKILL
    undo = KILLED.replace(
        "builder.build(Path(sys.argv[1]), Path(sys.argv[2]))",
        "from redoubt.build.swap import recover; recover(Path(sys.argv[2]))",
    )
    for moment in (0, 1, 3):
        killed(undo, made, out, moment)
    recover(out)
    assert state(out) == old


def test_a_full_disk_leaves_the_old_tree(spec: Path, out: Path, monkeypatch: pytest.MonkeyPatch):
    old = state(out)
    spec.write_text(NEXT)
    real, count = os.rename, 0

    def fails(*args: object, **more: object) -> None:
        nonlocal count
        count += 1
        if count == 9:
            raise OSError(28, "No space left on device")
        real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", fails)
    with pytest.raises((BuildInterrupted, OSError)):
        build(spec, out)
    monkeypatch.undo()
    assert state(out) == old
