"""`redoubt policy snapshot`: the table of all decisions, and its change, which a person approves."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from redoubt.authz.policyset import parse_folder
from redoubt.authz.snapshot import decision_table, render
from redoubt.build.access import access_model
from redoubt.build.spec import load_spec

CHANGED = 1
_FILE = "tests/decisions.json"
_SHOWN = 40
_MAX_BYTES = 64 * 1024 * 1024


def snapshot(
    directory: Annotated[Path, typer.Argument(help="The app's folder.", exists=True, file_okay=False)],
    check: Annotated[
        bool, typer.Option("--check", help="Exit 1 where a decision is not the approved one.")
    ] = False,
    approve: Annotated[
        bool, typer.Option("--approve", help="Make the decisions of now the approved ones.")
    ] = False,
) -> None:
    """Show which decisions differ from the approved ones in tests/decisions.json.

    The table holds roles × actions × resources × owner, other, other tenant × risk, fresh passkey, state and amount.
    """
    if check and approve:
        raise typer.BadParameter("--check and --approve exclude each other")
    model = access_model(load_spec(directory / "spec.yaml"))
    text = render(decision_table(model, parse_folder(directory / "policies")))
    file = directory / _FILE
    lines = _changes(_read(file), json.loads(text))
    for line in lines[:_SHOWN]:
        typer.echo(line)
    if len(lines) > _SHOWN:
        typer.echo(f"… and {len(lines) - _SHOWN} more")
    same = file.is_file() and file.read_text("utf-8") == text
    if approve and not same:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, "utf-8")
    if same:
        typer.echo("every decision is the approved one")
        return
    counts = Counter(line[0] for line in lines)
    typer.echo(
        f"{counts['+']} allowed now, {counts['-']} denied now, {counts['~']} of other cells or reasons: "
        + ("approved" if approve else "approve with --approve")
    )
    raise typer.Exit(CHANGED if check else 0)


def _read(file: Path) -> list[dict[str, Any]]:
    """Return the approved rows; none where there is no file, or none that can be read: then nothing is approved."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError("too large")
        rows = json.loads(file.read_text("utf-8"))
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    except (OSError, ValueError, RecursionError):
        return []


def _changes(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[str]:
    """Return a line for each cell that differs: `+` is allowed now, `-` is denied now, `~` is something else."""
    old = {_cell(row): row for row in before}
    new = {_cell(row): row for row in after}
    lines = []
    for cell in sorted(old.keys() | new.keys()):
        was, now = old.get(cell, {}), new.get(cell, {})
        if was == now:
            continue
        allowed, allows = bool(was.get("allowed")), bool(now.get("allowed"))
        sign = "+" if allows and not allowed else "-" if allowed and not allows else "~"
        by = ", ".join((now if allows else was).get("reasons") or ())
        lines.append(f"{sign} {cell}" + (f"  by {by}" if by else ""))
    return sorted(lines, key=lambda line: "+-~".index(line[0]))


def _cell(row: dict[str, Any]) -> str:
    words = [f"{row.get('role')} {row.get('action')} on {row.get('relation')}", f"risk {row.get('risk')}"]
    words.append("fresh passkey" if row.get("step_up") else "no fresh passkey")
    words += [f"{key} {row[key]}" for key in ("state", "amount") if row.get(key) is not None]
    return ", ".join(words)
