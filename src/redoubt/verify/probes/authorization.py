"""Authorization: who may do what to whose objects, judged by effects on planted canaries."""

from __future__ import annotations

import json
import re
from itertools import product

from ..errors import LoginFailed, NoSubject, Unshown
from ..lab import Lab
from ..people import Person
from ..probe import probe
from ..samples import sample
from ..shadow import shadow_routes
from ..things import Workshop
from .escalation import cast_of_two, cross_owner, function_level, secrets_of_others
from .table import declared_public, harmless


@probe("AUZ-1")
def owners_keep_what_is_theirs(lab: Lab) -> None:
    """Reach others' objects."""
    alice, bob = cast_of_two(lab)
    cross_owner(lab, alice, bob)
    function_level(lab)


@probe("AUZ-1")
def answers_hold_nobodys_secrets(lab: Lab) -> None:
    """Read all that can be read; look for what another logs in with."""
    secrets_of_others(lab, *cast_of_two(lab))


@probe("AUZ-3", phase=2, beside="steady")
def old_decisions_replay_under_their_version(lab: Lab) -> None:
    """Take recorded decisions and decide them again under the version that they name."""
    with lab.attack(
        "replay recorded decisions under their versions", "each names a stored version and decides the same"
    ) as attack:
        person = lab.person(lab.a_role(), "rita")
        kind = next((one for one in lab.api.resources() if one.listing is not None), None)
        if kind is not None and kind.listing is not None:
            person.browser.get(kind.listing.path)
        listed = lab.command("decisions")
        attack.positive("recorded decisions can be listed", listed.returncode == 0, listed.stderr[-200:])
        found = json.loads(listed.stdout or "[]")
        entries = found.get("entries", []) if isinstance(found, dict) else found
        decisions = [one for one in entries if one.get("target_id")]  # of what is not there nothing was read
        attack.positive("decisions were recorded", decisions)
        versions = lab.command("policy_versions")
        attack.positive("stored versions can be listed", versions.returncode == 0, versions.stderr[-200:])
        for one in decisions[:2]:
            done = lab.command("policy_replay", id=str(one.get("id", "")))
            said = json.loads(done.stdout) if done.stdout.strip().startswith("{") else {}
            attack.check(
                done.returncode == 0 and said.get("agrees") is True,
                f"decision {one.get('id')} does not replay",
            )
            version = str(said.get("version", "?"))
            attack.check(version in versions.stdout, f"version {version[:16]} of a decision is not stored")


@probe("AUZ-7")
def every_route_refuses_nobody(lab: Lab) -> None:
    """Call every route as nobody, and as somebody whose role may not."""
    nobody = lab.anonymous()
    routes = [one for one in lab.api.operations if not declared_public(lab, one)]
    shadows = shadow_routes(lab.world.repo, lab.api) if lab.world.repo is not None else []
    alice = lab.person(lab.a_role(), "anna")
    shop = Workshop(lab, [alice])
    with lab.attack(
        "call every declared route as nobody", "content, an effect or a canary comes back"
    ) as attack:
        attack.positive("there are routes that are not public", routes)
        things = {
            kind.item: shop.anybody_makes(kind) for kind in lab.api.resources() if kind.create is not None
        }
        answered = 0
        for one in routes:
            thing = next(
                (
                    t
                    for item, t in things.items()
                    if t and (one.path == item or one.path.startswith(item + "/"))
                ),
                None,
            )
            body = sample(lab.api, one.body, lab.canary(), lambda _: None) if one.body is not None else None
            path = one.at(id=thing.id if thing else "1")
            answer = nobody.send(one.method, path, json=body)
            attack.check(not answer.ok, f"{one.key} answers {answer.status} to nobody", answer)
            if thing is not None and thing.owner.browser.get(thing.path).ok:
                answered += 1
        attack.positive("somebody who may is answered", answered or alice.browser.get(_readable(lab)).ok)
    with lab.attack("call routes that the description leaves out, as nobody", "content comes back") as attack:
        attack.positive("the routes in the code were compared", lab.world.repo is not None, "repo: .")
        for method, path, where in shadows:
            if f"{method} {path}" in lab.target.public:
                continue
            answer = nobody.send(
                method, re.sub(r"\{[^}]+\}", "1", path), json={} if method != "GET" else None
            )
            attack.check(
                not answer.ok, f"{method} {path} ({where}) answers {answer.status} to nobody", answer
            )
    if lab.target.access is not None:
        _roles_without_grants(lab, alice)


def _readable(lab: Lab) -> str:
    return next(
        (one.path for one in lab.api.operations if one.method == "GET" and not one.path_parameters), "/"
    )


def _roles_without_grants(lab: Lab, alice: Person) -> None:
    with lab.attack(
        "call each operation as a role that nothing grants it to", "anything but a refusal"
    ) as attack:
        tried = 0
        people = {alice.role: alice}
        for role, operation in product(lab.world.people.roles(), lab.api.operations):
            granted = any(
                role in one.roles and {operation.key, operation.permission} & set(one.do)
                for one in lab.target.access or ()
            )
            if granted or declared_public(lab, operation):
                continue
            if role not in people:
                try:
                    people[role] = lab.person(role)
                except LoginFailed as error:
                    raise Unshown(str(error)) from None
            tried += 1
            answer = people[role].browser.send(
                operation.method, operation.at(id="1"), json=harmless(operation)
            )
            attack.check(
                answer.status in (401, 403, 404), f"{role} gets {answer.status} from {operation.key}", answer
            )
        if tried == 0:
            raise NoSubject("every role may do everything")
