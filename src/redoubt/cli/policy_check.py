"""`redoubt policy check`: what a change of policies grants more, between two folders or two commits."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from redoubt.authz.errors import PolicyRejected
from redoubt.authz.gate import (
    as_json,
    as_sarif,
    as_text,
    breach_refusals,
    earlier_sets,
    elevation_refusals,
    judge,
    tables,
)
from redoubt.authz.gate.newcomers import SECONDS as TABLE_SECONDS
from redoubt.authz.links import LINKS_FILE
from redoubt.authz.policyset import (
    MAX_BYTES,
    POLICY_SUFFIX,
    SCHEMA_SUFFIX,
    PolicySet,
    PolicySource,
    parse,
    read_folder,
)

REVIEW, REFUSED = 3, 1
_GIT_SECONDS = 30
_COMMITS = 500


class Format(Enum):
    """How the answer is printed."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


def check(
    base: Annotated[
        str, typer.Argument(help="The policies before: a folder, or a commit of the repository here.")
    ],
    head: Annotated[str, typer.Argument(help="The policies after: likewise.")],
    policies: Annotated[str, typer.Option(help="Where a commit holds its policies.")] = "policies",
    form: Annotated[Format, typer.Option("--format", help="How the answer is printed.")] = Format.TEXT,
    budget: Annotated[float, typer.Option(min=0.1, help="Seconds that the proof may take.")] = 60.0,
    reviewed: Annotated[
        bool, typer.Option("--reviewed", help="A second person saw it: only what no approval lifts fails.")
    ] = False,
) -> None:
    """Prove that a change of policies grants nothing more, and that nobody elevates themselves by a granted write.

    Exit codes: 0 equal or narrower; 3 wider, new or not proven, so that a second person must see it; 1 for policies
    that do not parse or type-check, and for what no approval lifts; 2 for a base or head that is not there.
    """
    before, after = _source(base, policies), _source(head, policies)
    old, new = parse(before), parse(after)
    refused = elevation_refusals(new, budget_seconds=budget)
    found = judge(old, new, budget_seconds=budget, earlier=earlier_sets(old, new, _past(base, policies)))
    refused += breach_refusals(found)
    shown = tables(new, found, seconds=min(budget, TABLE_SECONDS))
    match form:
        case Format.TEXT:
            typer.echo(as_text(old, new, found, refused, shown))
        case Format.JSON:
            typer.echo(json.dumps(as_json(old, new, found, refused, shown), indent=2, sort_keys=True))
        case Format.SARIF:
            root = head if Path(head).is_dir() else policies
            typer.echo(
                json.dumps(
                    as_sarif(found, [f"{root}/{name}" for name in _changed(before, after)], refused, shown),
                    indent=2,
                )
            )
    if refused:
        raise typer.Exit(REFUSED)
    if found.widens and not reviewed:
        raise typer.Exit(REVIEW)


def _changed(before: PolicySource, after: PolicySource) -> list[str]:
    old = {**before.policies, before.schema_file: before.schema, LINKS_FILE: before.links}
    new = {**after.policies, after.schema_file: after.schema, LINKS_FILE: after.links}
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def _past(base: str, policies: str) -> Iterator[Callable[[], PolicySet | None]]:
    """Yield how to read the policies of the base's older commits, newest first, where the base is a commit."""
    if Path(base).is_dir():
        return
    log = _git("log", f"--max-count={_COMMITS}", "--format=%H", "--end-of-options", base, "--", policies)
    for commit in log.split()[1:]:
        yield partial(_older, commit, policies)


def _older(commit: str, policies: str) -> PolicySet | None:
    try:
        return parse(_source(commit, policies))
    except (PolicyRejected, typer.BadParameter):
        return None


def _source(where: str, policies: str) -> PolicySource:
    if Path(where).is_dir():
        return read_folder(Path(where))
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{where}^{{commit}}").strip()
    names = [
        name
        for name in _git("ls-tree", "-z", "--name-only", f"{commit}:{policies}").split("\0")
        if name.endswith((POLICY_SUFFIX, SCHEMA_SUFFIX)) or name == LINKS_FILE
    ]
    texts = {name: _git("show", f"{commit}:{policies}/{name}") for name in names}
    schemas = [name for name in names if name.endswith(SCHEMA_SUFFIX)]
    if len(schemas) != 1:
        raise typer.BadParameter(f"{where}:{policies} needs one *{SCHEMA_SUFFIX} file, has {len(schemas)}")
    links = texts.pop(LINKS_FILE, "[]")
    return PolicySource(texts.pop(schemas[0]), texts, schemas[0], links)


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, timeout=_GIT_SECONDS, check=True, encoding="utf-8"
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        raise typer.BadParameter("neither a folder nor a commit that holds policies") from error
    if len(done.stdout) > MAX_BYTES:
        raise typer.BadParameter(f"a file of the commit is larger than {MAX_BYTES} bytes")
    return done.stdout
