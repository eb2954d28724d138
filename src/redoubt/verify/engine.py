"""The run: start or reach the app, let every probe attack, and add up what they showed to one verdict a control."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from attrs import define, field, frozen

from redoubt.controls import Control, Evidence, Finding, Outcome, Verdict, catalogue
from redoubt.core.clock import SystemClock
from redoubt.core.forkserver import ForkServer
from redoubt.core.ids import SystemIds

from .access import Cell, merged
from .chromium import find_chromium
from .errors import HostRefused, LoginFailed, NoSubject, TargetInvalid, TargetUnreachable, Unshown
from .lab import Lab, World
from .launch import Running, child_environment, fill, launched
from .masking import Masker
from .openapi import Api
from .people import People
from .probe import Probe, Trial, registered
from .schedule import LANES, ordered, side_by_side
from .target import Target, load, parse
from .transport import is_loopback, tls_context
from .warm import warm as warmed

_LATER = {"commands", "command_env", "replica"}


@frozen
class Options:
    """What `redoubt verify` was asked for."""

    subject: str
    repo: Path | None = None
    target: Path | None = None
    only: tuple[str, ...] = ()
    seed: int = 0
    budget: float = 600.0
    browser: bool = True


@frozen
class Report:
    """The outcome of a run: one finding a control, in the catalogue's order."""

    subject: str
    seed: int
    started: str
    seconds: float
    findings: tuple[Finding, ...]
    access: tuple[Cell, ...] = ()
    """Who may do what, as it was observed, beside what is declared."""

    def counts(self) -> dict[Verdict, int]:
        """Return how many controls got each verdict."""
        return {verdict: sum(one.verdict is verdict for one in self.findings) for verdict in Verdict}

    def of(self, control: str) -> Finding:
        """Return the finding of one control."""
        return next(one for one in self.findings if one.control == control)


class Watcher:
    """Hears of progress; the command draws it on stderr."""

    def step(self, text: str) -> None:
        """Something is being prepared."""

    def begin(self, control: str, probe: str, done: int, total: int) -> None:
        """A probe begins."""

    def judged(self, finding: Finding) -> None:
        """A control has its verdict."""


@define
class _Tally:
    """What the probes of one control have shown so far."""

    evidence: list[Evidence] = field(factory=list)
    unshown: list[str] = field(factory=list)
    nothing: list[str] = field(factory=list)
    add: str = ""
    seconds: float = 0.0

    def add_up(self, other: _Tally) -> None:
        """Add what another probe of the same control has shown."""
        self.evidence += other.evidence
        self.unshown += other.unshown
        self.nothing += other.nothing
        self.add = self.add or other.add
        self.seconds += other.seconds


def verify(options: Options, watcher: Watcher | None = None) -> Report:
    """Attack the app that `options` name and return the verdict of every control.

    Raises TargetInvalid or HostRefused for what cannot be asked, TargetUnreachable or LoginFailed when the app cannot
    be attacked at all.
    """
    watcher = watcher or Watcher()
    clock = SystemClock()
    started, began = clock.now(), clock.monotonic()
    wanted = _wanted(options.only)
    with prepared(options, watcher.step) as world:
        findings = _run(world, wanted, options, watcher)
        access = merged(world.notes.get("access", ()))
    return Report(
        options.subject,
        options.seed,
        started.isoformat(timespec="seconds"),
        round(clock.monotonic() - began, 1),
        tuple(findings),
        access,
    )


@contextmanager
def prepared(options: Options, say: Callable[[str], None]) -> Iterator[World]:
    """Reach the app, starting a private copy of a folder, and yield the world that probes work in."""
    folder = None if "://" in options.subject else Path(options.subject).resolve()
    target = _target(options, folder)
    with ExitStack() as stack:
        running: Running | None = None
        warm: ForkServer | None = None
        variables: dict[str, str] = {}
        if folder is not None:
            if target.start is None:
                raise TargetInvalid(
                    "the target does not say how the app is started.", hint="Add start: {command: …}"
                )
            warm = _warmed(target)
            if warm is not None:
                stack.callback(warm.close)
            running = stack.enter_context(launched(target.start, folder, say))
            variables = running.variables()
            variables |= {f"ready:{name}": _plain(value) for name, value in running.ready().items()}
            variables["ready"] = str(running.ready_file or "")
            given = target.model_dump(mode="python", by_alias=True, exclude={"start", "kind", *_LATER})
            later = target.model_dump(
                mode="python", include=_LATER
            )  # filled when run: a copy has other folders
            target = parse({**_filled(given, running, variables), **later})
        base = (
            options.subject if folder is None else target.target or f"http://127.0.0.1:{variables['port']}"
        ).rstrip("/")
        _refuse_foreign_hosts(base, target)
        world = _world(options, target, base, running, variables, folder, warm)
        stack.callback(world.close)
        say("looking at the app")
        _reach(world)
        world.api = _description(world, folder)
        yield world


def _warmed(target: Target) -> ForkServer | None:
    """Start the server of the product's own commands where the target uses them: it imports while the app starts."""
    if not any("redoubt" in command for command in target.commands.values()):
        return None
    plain = {name: value for name, value in target.command_env.items() if "{" not in value}
    return warmed(child_environment(plain, []))


def _target(options: Options, folder: Path | None) -> Target:
    path = options.target or (folder / "target.yaml" if folder else None)
    if path is not None and (options.target or path.is_file()):
        target = load(path)
    elif folder is not None and not folder.is_dir():
        raise TargetInvalid(f"{options.subject} is neither a folder nor an address.")
    elif folder is not None:
        raise TargetInvalid(
            f"there is no target.yaml in {options.subject}.", hint="Write one, or give an address."
        )
    else:
        target = parse({})
    return target


def _filled(value: Any, running: Running, variables: dict[str, str]) -> Any:
    """Fill `{...}` in every text of the target; a text that is one whole member of the ready file becomes it."""
    if isinstance(value, str):
        ready = running.ready()
        if value.startswith("{ready:") and value.endswith("}") and value.count("{") == 1:
            return ready.get(value[7:-1])
        return fill(value, variables)
    if isinstance(value, dict):
        return {key: _filled(one, running, variables) for key, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [_filled(one, running, variables) for one in value]
    return value


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _refuse_foreign_hosts(base: str, target: Target) -> None:
    host = urlsplit(base).hostname or ""
    if urlsplit(base).scheme not in ("http", "https") or not host:
        raise TargetInvalid(f"{base} is no http address.")
    if not is_loopback(host) and host not in target.allow:
        raise HostRefused(
            f"{host} is not this machine; verify attacks what it is pointed at.",
            hint=f"If it is yours to attack, write into the target file: allow: [{host}]",
        )


def _world(
    options: Options,
    target: Target,
    base: str,
    running: Running | None,
    variables: dict[str, str],
    folder: Path | None,
    warm: ForkServer | None,
) -> World:
    secrets: dict[str, str] = dict(running.secrets) if running else {}
    if target.secrets and Path(target.secrets).is_file():
        secrets |= {str(k): str(v) for k, v in json.loads(Path(target.secrets).read_text()).items()}
    masker = Masker()
    for name, value in secrets.items():
        masker.learn(value, "secret", name)
    context = tls_context(Path(target.ca) if target.ca else None)
    repo = options.repo or (folder / target.repo if folder and target.repo else folder)
    ids = SystemIds(SystemClock())
    people = People(target, ids.random_bytes, lambda text: text)
    world = World(
        target, base, context, masker, people, random.Random(options.seed), repo=repo, running=running,  # noqa: S311
        variables=variables, secrets=secrets, chromium=find_chromium() if options.browser else None, warm=warm,
    )  # fmt: skip
    world.people = People(target, ids.random_bytes, world.secret)
    return world


def _reach(world: World) -> None:
    try:
        world.client("127.0.0.1").get(world.base_url + "/")
    except (httpx.HTTPError, OSError) as error:
        raise TargetUnreachable(f"{world.base_url} does not answer ({type(error).__name__}).") from None


def _description(world: World, folder: Path | None) -> Api | None:
    given = world.target.openapi
    if given and folder is not None and (folder / given.lstrip("/")).is_file():
        return Api(json.loads((folder / given.lstrip("/")).read_text()))
    for path in [given] if given else ["/openapi.json", "/.well-known/openapi.json", "/api/openapi.json"]:
        try:
            answer = world.client("127.0.0.1").get(world.base_url + "/" + path.lstrip("/"))
            found = answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError):
            continue
        if isinstance(found, dict) and "paths" in found:
            return Api(found)
    if given:
        raise TargetInvalid(f"no OpenAPI description is at {given}.")
    return None


def _wanted(only: Iterable[str]) -> list[Control]:
    names = [one for part in only for one in part.split(",") if one]
    if not names:
        return list(catalogue())
    ids = {catalogue()[name].id for name in names}
    return [control for control in catalogue() if control.id in ids]


def _run(world: World, wanted: list[Control], options: Options, watcher: Watcher) -> list[Finding]:
    ids = {control.id for control in wanted}
    probes = ordered([one for one in registered() if one.control in ids], options.seed)
    numbers = {
        (one.control, one.name): at
        for at, one in enumerate(sorted(registered(), key=lambda p: (p.control, p.name)))
    }
    tallies = {control.id: _Tally() for control in wanted}
    left = {control: [one for one in probes if one.control == control] for control in ids}
    findings: dict[str, Finding] = {}
    end = time.monotonic() + options.budget

    def attempt(one: Probe) -> _Tally:
        if time.monotonic() > end:
            return _Tally(unshown=["the budget was spent before its turn (give more with --budget)"])
        rng = random.Random(f"{options.seed}:{one.control}:{one.name}")  # noqa: S311 - repeatable, guards nothing
        return _try(one, Lab(world, numbers[one.control, one.name], Trial(), rng, end))

    def waiting(one: Probe, done: int) -> None:
        watcher.begin(one.control, one.name, done, len(probes))

    lanes = LANES if world.running is not None and world.people.separate else 1
    for one, shown in side_by_side(probes, attempt, waiting, lanes):
        tally = tallies[one.control]
        tally.add_up(shown)
        left[one.control].remove(one)
        if not left[one.control]:
            findings[one.control] = finding = _judge(one.control, tally)
            watcher.judged(finding)
    for control in wanted:
        if control.id not in findings:
            findings[control.id] = Finding(
                control.id, Verdict.NOT_SHOWN, f"no probe yet; what would show it: {control.prove}"
            )
    return [findings[control.id] for control in wanted]


def _try(one: Probe, lab: Lab) -> _Tally:
    began = time.monotonic()
    tally = _Tally()
    try:
        one.run(lab)
    except NoSubject as nothing:
        tally.nothing.append(nothing.reason)
    except Unshown as unshown:
        tally.unshown.append(f"{one.name}: {unshown.reason}")
        tally.add = unshown.add
    except LoginFailed as error:
        tally.unshown.append(f"{one.name}: {error}")
    except Exception as error:  # a probe that crashes shows nothing, and says so
        tally.unshown.append(
            f"{one.name}: the probe stumbled over {type(error).__name__}: {str(error)[:200]}"
        )
    tally.evidence = lab.trial.evidence(lab.world.masker)
    tally.add = tally.add or lab.trial.add
    tally.seconds = time.monotonic() - began
    return tally


def _judge(control: str, tally: _Tally) -> Finding:
    """Return the one verdict: broken if anything broke; not shown while anything is open; else what was tried."""
    seconds = round(tally.seconds, 2)
    if any(one.outcome is Outcome.BROKE for one in tally.evidence):
        return Finding.of(control, tally.evidence, seconds)
    if tally.unshown or any(one.outcome is Outcome.INCONCLUSIVE for one in tally.evidence):
        found = Finding.of(control, tally.evidence, seconds)
        reasons = list(tally.unshown)
        if found.verdict is Verdict.NOT_SHOWN and tally.evidence:
            reasons.append(found.reason)
        return Finding(
            control, Verdict.NOT_SHOWN, "; ".join(reasons), tuple(tally.evidence), tally.add, seconds
        )
    if not tally.evidence and tally.nothing:
        return Finding(
            control, Verdict.NOT_APPLICABLE, "; ".join(dict.fromkeys(tally.nothing)), seconds=seconds
        )
    return Finding.of(control, tally.evidence, seconds)
