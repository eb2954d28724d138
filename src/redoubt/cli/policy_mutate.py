"""`redoubt policy mutate`: mistakes in the policies that their tests would not notice."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from redoubt.authz.policyset import parse_folder
from redoubt.authz.testing import Mutant, mutate

from .policy_files import FAILED, cases_of, changed_ids


def mutate_policies(
    directory: Annotated[Path, typer.Argument(help="The policies' folder.", exists=True, file_okay=False)],
    tests: Annotated[
        Path | None, typer.Option("--tests", help="The folder of the tests; default: tests in the policies'.")
    ] = None,
    changed: Annotated[
        Path | None,
        typer.Option(
            "--changed", metavar="BASE", help="Mutate only what differs from the policies of this folder."
        ),
    ] = None,
    budget: Annotated[
        float, typer.Option(min=0, help="Seconds for proving that missed mutants decide as before.")
    ] = 60.0,
) -> None:
    """Run the policies' tests against each small mistake in them; exit 1 where one is noticed by no test.

    A mutant that is proven to decide as the original on every store is no mistake, and is left out; without the extra
    'prove' such mutants count as missed.
    """
    policies, cases = parse_folder(directory), cases_of(tests or directory / "tests")
    only = None if changed is None else changed_ids(policies, parse_folder(changed))
    found = mutate(policies, cases, only, proof_seconds=budget, tell=lambda line: typer.echo(line, err=True))
    for mutant in found.missed:
        typer.echo(f"missed: {_line(mutant)}")
    typer.echo(
        f"{len(found.killed)} noticed, {len(found.missed)} missed; {len(found.equivalent)} decide as before, "
        f"{len(found.refused)} are refused by the schema"
    )
    raise typer.Exit(FAILED if found.missed else 0)


def _line(mutant: Mutant) -> str:
    return f"{mutant.policy_id}: {mutant.kind}: {' '.join(mutant.where.split())}"
