"""Changes of permissions: one place decides for every replica, no widening passes alone, what would turn is shown first.

One story gives three controls their evidence: a role is to read by policy what it may not, and its owner is to lose
another object. One operator asks, a second approves; who then reads whose canary decides.
"""

from __future__ import annotations

import re
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from attrs import define

from ..browser import Browser
from ..errors import Unshown
from ..lab import Lab
from ..people import Person, deep
from ..probe import ASIDE, SEARCHING, Attack, probe
from ..replica import second_replica
from ..target import Policies, call
from ..things import Thing, Workshop
from .cedar import (
    ADDED,
    elevating_edits,
    equal_edits,
    forbidden,
    granted_to,
    granting,
    narrower_edits,
    read_policies,
    wider_edits,
    write_policies,
)
from .escalation import cast_of_two
from .operations import decide

_DENIED, _ALLOWED = 3, 4
"""How often bob is denied and alice allowed before the change: two numbers, so that a dry run cannot mix them up."""
_APPROVAL = re.compile(r"/approvals/([\w-]{8,})")


@define(eq=False)
class _Scene:
    """Two operators; alice with two objects of hers; bob who may read neither; and the policies to propose."""

    lab: Lab
    how: Policies
    author: Person
    second: Person
    bob: Person
    first: Thing
    other: Thing
    wider: Path
    narrower: Path
    approval: str = ""
    code: int = -1
    approved: bool = False

    def propose(self, folder: Path, ticket: str) -> Any:
        """Propose the policies of a folder; return how the command ended."""
        return self.lab.command("policy_propose", by=self.author.id, policies=str(folder), ticket=ticket)

    def reads(self, browser: Browser | None = None) -> bool:
        """Say whether bob reads alice's first object."""
        return self.first.canary in (browser or self.bob.browser).get(self.first.path).text


@probe("AUZ-2", phase=SEARCHING)
def a_change_reaches_every_replica(lab: Lab) -> None:
    """Change a policy once, and ask every replica."""
    _share(lab, "AUZ-2")


@probe("AUZ-4", phase=SEARCHING, beside="traces", first=True)
def no_widening_passes_alone(lab: Lab) -> None:
    """Ask for more as one operator, with and without a ticket; then approve it as a second."""
    _share(lab, "AUZ-4")


@probe("OPS-8", phase=SEARCHING)
def what_a_change_would_turn_is_shown(lab: Lab) -> None:
    """Propose what turns known decisions, and read what the approver is shown."""
    _share(lab, "OPS-8")


def _share(lab: Lab, control: str) -> None:
    known = lab.world.notes.get("policy story")
    if not isinstance(known, dict):
        _tell(lab)
        names = ("OPS-8", "AUZ-4", "AUZ-2")
        known = dict(zip(names, lab.trial.attacks, strict=True))
        lab.world.notes["policy story"] = known
        lab.trial.attacks = []
    lab.trial.attacks.append(known[control])


def _tell(lab: Lab) -> None:
    how = lab.target.policies
    if how is None or lab.world.repo is None or "policy_propose" not in lab.target.commands:
        raise Unshown(
            "how policies are changed is not said",
            add="policies: {folder: policies, as: operator}\ncommands: {policy_propose: [propose, '{policies}']}",
        )
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="redoubt-policies-")))
        scene = _scene(lab, how, place)
        _coming_up(lab)
        with lab.attack(
            "propose to turn known decisions, and read what the approver sees", "not exactly those are shown"
        ) as shown:
            _rehearsed(scene, shown)
        with lab.attack(
            "as one operator let a role read what it may not", "a stranger reads her canary"
        ) as alone:
            _alone(scene, alone)
        with lab.attack(
            "give and take a permission once, and ask every replica by a live session",
            f"one decides by the old policies after {how.within:.0f} s",
        ) as everywhere:
            replica = second_replica(lab)
            replica.await_up(lab)
            _everywhere(scene, everywhere, [scene.bob.browser, replica.same(lab, scene.bob.browser)])


def _coming_up(lab: Lab) -> None:
    """Let a second replica come up meanwhile; where there can be none, the attack that needs it says so."""
    with suppress(Unshown):
        second_replica(lab)


def _scene(lab: Lab, how: Policies, place: Path) -> _Scene:
    alice, bob = cast_of_two(lab)
    texts = read_policies(Path(lab.world.repo or ".") / how.folder)
    shop = Workshop(lab, [alice, bob])
    for kind in lab.api.resources():
        if kind.read is None or kind.create is None or not kind.read.permission:
            continue
        lines = [one for one in lab.target.access or () if kind.read.permission in one.do]
        others = [role for one in lines if not one.own and not one.states for role in one.roles]
        if alice.role in others:
            continue
        statement = next((s for role in others if (s := granting(texts, kind.read.permission, role))), None)
        first = shop.make(kind, alice) if statement else None
        other = shop.make(kind, alice) if statement else None
        if statement is None or first is None or other is None:
            continue
        grant, deny = granted_to(statement, bob.role, first.id), forbidden(statement, other.id)
        return _Scene(
            lab, how, lab.person(how.role, "author"), lab.person(how.role, "second"), bob, first, other,
            write_policies(place / "wider", {**texts, ADDED: f"{grant}\n{deny}"}),
            write_policies(place / "narrower", {**texts, ADDED: deny}),
        )  # fmt: skip
    raise Unshown("there is no object that one role reads and another does not")


def _rehearsed(scene: _Scene, attack: Attack) -> None:
    """Ask known questions, propose, and hold what the second person is shown against them."""
    how, second = scene.how, scene.second
    denied = [scene.reads() for _ in range(_DENIED)]
    attack.positive("a stranger is denied before", not any(denied))
    allowed = [scene.other.reread().ok for _ in range(_ALLOWED)]
    attack.positive("the owner is allowed before", all(allowed))
    done = scene.propose(scene.wider, "CHG-1")
    found = _APPROVAL.search(done.stdout)
    scene.code, scene.approval = done.returncode, found[1] if found else ""
    attack.check(scene.approval, f"nobody is asked: {(done.stdout + done.stderr).strip()[-200:]}")
    if not scene.approval or how.shown is None:
        return
    answer = second.browser.get(re.sub(r"\{[^}]+\}", scene.approval, call(how.shown)[1]))
    attack.positive("the approver sees the request", answer.ok, str(answer.status))
    dry = deep(answer.json(), how.rehearsal)
    if not attack.check(isinstance(dry, dict), "the approver is shown no dry run", answer):
        return
    counts = dry.get("deny_to_allow"), dry.get("allow_to_deny")
    attack.check(
        counts == (_DENIED, _ALLOWED),
        f"shown are {counts[0]} that turn to allowed and {counts[1]} to denied, not {_DENIED} and {_ALLOWED}",
        answer,
    )
    named = {str(deep(one, "resource.id")) for one in dry.get("examples", ())}
    wanted = {scene.first.id, scene.other.id}
    attack.check(named == wanted, "the examples are not the two objects that the change is about", answer)


def _alone(scene: _Scene, attack: Attack) -> None:
    """Try to let the widening run with one person; then see that with two it does run."""
    attack.positive("the owner reads her own", scene.first.reread().ok)
    attack.check(scene.code != 0, "a proposal that widens ran at once")
    bare = scene.propose(scene.wider, "")
    attack.check(bare.returncode != 0, "a proposal that widens ran without a ticket")
    for person in (scene.author, scene.bob):
        answer = decide(scene.lab, person, scene.approval)
        attack.check(answer is None or not answer.ok, f"{person.role} alone approved it", answer)
    time.sleep(scene.how.within)
    attack.check(not scene.reads(), "a stranger reads by a widening that no second person approved")
    if attack.outcome is not None:
        return
    done = decide(scene.lab, scene.second, scene.approval)
    scene.approved = done is not None and done.ok
    attack.positive("a second operator approves", scene.approved, str(done and done.status))
    attack.positive("and then it takes effect", scene.lab.wait(scene.reads, scene.how.within, 0.2))
    attack.positive("where it says, and nowhere else", not scene.other.reread().ok)


def _everywhere(scene: _Scene, attack: Attack, browsers: list[Browser]) -> None:
    lab, within = scene.lab, scene.how.within
    attack.positive("a permission was given", scene.approved)
    lab.wait(lambda: all(scene.reads(one) for one in browsers), within, 0.2)
    for browser in browsers:
        attack.check(scene.reads(browser), f"{browser.actor}: still denied {within:.0f} s after it was given")
    done = scene.propose(scene.narrower, "CHG-2")
    attack.positive("it was taken away again", done.returncode == 0, (done.stdout + done.stderr)[-200:])
    lab.wait(lambda: not any(scene.reads(one) for one in browsers), within, 0.2)
    for browser in browsers:
        attack.check(
            not scene.reads(browser),
            f"{browser.actor}: still answered {within:.0f} s after it was taken away",
        )
    alive = all(lab.alive(one) for one in browsers)
    attack.positive("his session lives at every replica", alive)


@probe("AUZ-4", phase=SEARCHING, beside=ASIDE)
def confusing_edits_are_seen_through(lab: Lab) -> None:
    """Write equal, narrower and wider edits in confusing ways, and one that elevates; the gate must tell them apart."""
    how = lab.target.policies
    if how is None or lab.world.repo is None or "policy_check" not in lab.target.commands:
        raise Unshown(
            "how a change of policies is judged is not said",
            add="policies: {folder: policies, as: operator}\ncommands: {policy_check: [check, '{before}', '{after}']}",
        )
    texts = read_policies(Path(lab.world.repo) / how.folder)
    with (
        lab.attack("write equal, narrower and wider edits in confusing ways", "one is taken for another") as attack,
        tempfile.TemporaryDirectory(prefix="redoubt-edits-") as scratch,
    ):  # fmt: skip
        before = write_policies(Path(scratch) / "before", texts)
        kinds = (
            ("equal", equal_edits(texts)),
            ("narrower", narrower_edits(texts)),
            ("wider", wider_edits(texts)),
            ("refused", elevating_edits(texts)),
        )
        tried = [(kind, words, edited) for kind, edits in kinds for words, edited in edits.items()]
        attack.positive("something can be widened", any(kind == "wider" for kind, *_ in tried))
        folders = [write_policies(Path(scratch) / str(at), one[2]) for at, one in enumerate(tried)]
        with ThreadPoolExecutor(2) as pool:
            codes = list(
                pool.map(
                    lambda after: (
                        lab.command("policy_check", before=str(before), after=str(after)).returncode
                    ),
                    folders,
                )
            )
        for (kind, words, _), code in zip(tried, codes, strict=True):
            if kind == "wider":
                attack.check(code == how.review, f"{words}: a widening passes (the check ended with {code})")
            elif kind == "refused":
                attack.check(
                    code not in (0, how.review), f"{words}: it passes, or asks for a review alone ({code})"
                )
            else:
                attack.positive(f"{words}: passes, as it grants nothing more", code == 0, str(code))
