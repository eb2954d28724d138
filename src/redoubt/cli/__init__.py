"""The `redoubt` command: one module a verb, assembled here."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from redoubt import __version__
from redoubt.core.errors import RedoubtError
from redoubt.start import load

# verb → module, its one-line help, and whether the module's only command is the verb itself
_VERBS: dict[str, tuple[str, str]] = {
    "build": ("build", "Compile a spec into a hardened app."),
    "plan": ("plan", "Show what a build would change, and change nothing."),
    "run": ("run", "Start an app with its worker and its charge service."),
    "verify": ("verify", "Attack and read an app; say for every control what was shown."),
    "up": ("up", "Build, run and verify an app from its spec, in one go."),
    "spec": ("spec", "Check a spec, or print its JSON Schema."),
    "controls": ("controls", "List and explain the controls."),
    "policy": ("policy", "Decide, explain, check, list and roll back policies."),
    "people": ("people", "List people; take a role at once, ask for one, end sessions."),
    "audit": ("audit", "Verify, list and show audit entries."),
    "switch": ("switches", "List and flip kill switches."),
    "webhooks": ("webhooks", "List, show, verify and replay deliveries; rotate keys."),
    "price": ("price", "Show prices; rehearse a new one over recorded orders and ask for it."),
    "payments": ("payments", "Look at payments and verify the ledger."),
    "db": ("db", "Show what each process may do in the database; try statements with its rights."),
    "supply": ("supply", "Check locks, SBOM and secret references of a folder."),
    "init": ("init", "Prepare an app's state: keys, databases, policy version 0, operator links."),
}


class _Verbs(TyperGroup):
    """Imports a verb's module only when that verb is called, so that `--help` stays quick."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the verbs in the order in which people meet them."""
        return list(_VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the verb's command; None for an unknown one."""
        if cmd_name not in _VERBS:
            return None
        module, _ = _VERBS[cmd_name]
        command = typer.main.get_command(load(f"redoubt.cli.{module}").app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _VERBS.items()])


app = typer.Typer(
    name="redoubt",
    cls=_Verbs,
    help="Make apps that AI wrote safe to ship: build, run and verify over one list of controls.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"redoubt {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Make apps that AI wrote safe to ship."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; a known error is a sentence on stderr and exit 1, never a trace."""
    try:
        return app(arguments)
    except RedoubtError as error:
        typer.echo(f"redoubt: {error}", err=True)
        sys.exit(1)
