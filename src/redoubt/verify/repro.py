"""From a report's evidence to a script that sends the same again and says whether the effect is still there.

The script needs httpx and nothing of this project. What an answer gave (cookies, tokens, ids) it takes from the new
answers, pages that a browser was driven through included: where they led, and the tokens in their forms. What nothing in
the evidence gave it asks for by environment variable. It calls an effect gone only where it could have shown: whoever
made what the attack was after could make it in the replay, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from .errors import TargetInvalid

_LABEL = re.compile(r"<[a-z][\w .:~-]*(?::[^<>\n]{1,120})?>")
_ID = re.compile(r"(^|_)(id|uuid|token|key)$")
_NUMBERED = re.compile(r"\d{1,20}|(?=[\w-]*\d)[\w-]{8,64}")
"""A part of an address that names one thing: a number, or something long with digits in it."""
_SHORT = 4
"""Values of fewer characters stand in bodies for many things, so they are only looked for in addresses."""
_CANARY = re.compile(r"cny[0-9a-f]{14}")


def script(report: Mapping[str, Any], control_id: str, attack: str = "") -> str:
    """Return a Python script that replays the evidence of a control; raises TargetInvalid when there is none.

    `attack` is a part of the name of the attack that is meant; by default it is the first that succeeded.
    """
    finding = next((one for one in report.get("controls", ()) if one["id"] == control_id.upper()), None)
    if finding is None:
        raise TargetInvalid(
            f"the report says nothing of {control_id}.", hint="Run redoubt verify with --only, or all."
        )
    evidence = _worth_replaying(finding, attack)
    steps = [_step(one) for one in evidence["exchanges"]]
    if not steps:
        raise TargetInvalid(
            f"{control_id} was judged without a request; there is nothing to replay.",
            hint=finding["reason"][:200],
        )
    tell = dict(evidence.get("tell") or {"exchange": -1, "status": steps[-1]["status"], "contains": ""})
    if not 0 <= tell["exchange"] < len(steps):
        tell["exchange"] = len(steps) - 1
    steps = steps[: tell["exchange"] + 1]
    planted = _planted(steps, tell)
    captures(steps)
    steps = needed(steps, planted)
    plan = {
        "control": finding["id"],
        "words": finding["control"],
        "attack": evidence["attack"],
        "oracle": evidence["oracle"],
        "detail": evidence["detail"],
        "tell": {**tell, "exchange": len(steps) - 1},
        "steps": steps,
    }
    template = files(__package__).joinpath("repro_template.txt").read_text(encoding="utf-8")
    return template.replace("@PLAN@", json.dumps(json.dumps(plan, indent=1, ensure_ascii=True)))


def _worth_replaying(finding: Mapping[str, Any], attack: str) -> Mapping[str, Any]:
    """Choose the attack that succeeded, else the first that has requests, of those whose name has `attack` in it."""
    order = {"broke": 0, "held": 1, "inconclusive": 2}
    meant = [one for one in finding["evidence"] if attack.lower() in one["attack"].lower()]
    ranked: list[Mapping[str, Any]] = sorted(
        meant, key=lambda one: (order.get(one["outcome"], 3), not one["exchanges"])
    )
    if not ranked and finding["evidence"]:
        names = "; ".join(one["attack"] for one in finding["evidence"])
        raise TargetInvalid(f"no attack of {finding['id']} is named so.", hint=f"There are: {names}")
    if not ranked:
        raise TargetInvalid(f"{finding['id']} has no evidence to replay.", hint=str(finding["reason"])[:200])
    return ranked[0]


def _step(exchange: Mapping[str, Any]) -> dict[str, Any]:
    sent, received = exchange["sent"], exchange["received"]
    return {
        "actor": exchange["actor"],
        "method": sent["method"],
        "url": sent["url"],
        "headers": dict(sent["headers"]),
        "body": sent["body"],
        "signing": exchange.get("signing", ""),
        "status": received["status"],
        "lands": _landing(exchange),
        "must": False,
        "answer": received["body"],
        "answer_headers": dict(received["headers"]),
        "capture": [],
    }


def _landing(exchange: Mapping[str, Any]) -> str:
    """Return the path that a page's script was led to by redirects, which it follows unseen; empty where it was not."""
    received = exchange["received"]
    led = received["headers"].get("location", "")
    return urlsplit(led).path if led and not 300 <= received["status"] < 400 else ""


def _planted(steps: list[dict[str, Any]], tell: Mapping[str, Any]) -> set[int]:
    """Return the steps that put there what the answer shows, and mark those that were not the attacker's.

    Where these do not succeed in a replay there is nothing to attack, so nothing can be said. Raises TargetInvalid where
    the evidence does not hold them.
    """
    shows = str(tell["contains"])
    last = len(steps) - 1
    planting = {at for at, one in enumerate(steps[:last]) if shows and shows in one["url"] + one["body"]}
    if _CANARY.fullmatch(shows) and not planting and shows not in steps[last]["url"] + steps[last]["body"]:
        raise TargetInvalid(
            "the evidence does not hold who put there what the attack saw; a replay could show nothing.",
            hint="Run redoubt verify again, --only with this control.",
        )
    by = tell.get("by") or steps[last]["actor"]
    for at in planting:
        steps[at]["must"] = steps[at]["actor"] != by and 200 <= steps[at]["status"] < 400
    return planting


def captures(steps: list[dict[str, Any]]) -> None:
    """Say for each step which values of its answer later steps need, and name them there."""
    names: dict[str, str] = {}
    for at, step in enumerate(steps):
        for value, how in _given(step):
            later = any(value in _sent(one) for one in steps[at + 1 :])
            if not later or value in names:
                continue
            names[value] = value if _LABEL.fullmatch(value) else f"<value:{len(names) + 1}>"
            step["capture"].append({"name": names[value], **how})
            if names[value] != value:
                step["lands"] = _renamed(step["lands"], value, names[value])
                for one in steps[at + 1 :]:
                    _rename(
                        one, value, names[value], everywhere=how["from"] == "json" or len(value) >= _SHORT
                    )
    for step in steps:
        for member in ("answer", "answer_headers"):
            step.pop(member)


def needed(steps: list[dict[str, Any]], planted: Iterable[int] = ()) -> list[dict[str, Any]]:
    """Return the steps that the last one rests on: what its actor did, what gave the values that are sent, and `planted`."""
    wanted = {len(steps) - 1, *planted}
    while True:
        actors = {steps[at]["actor"] for at in wanted}
        sent = "\n".join(_sent(steps[at]) for at in wanted)
        more = {
            at
            for at, step in enumerate(steps)
            if step["actor"] in actors or any(one["name"] in sent for one in step["capture"])
        }
        if more <= wanted:
            return [steps[at] for at in sorted(wanted)]
        wanted |= more


def _given(step: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each value in an answer that a later request may repeat: cookies, masked secrets, ids."""
    for match in re.finditer(r"(?:^|, )([\w-]+)=(<[^>]+>)", step["answer_headers"].get("set-cookie", "")):
        yield match[2], {"from": "cookie", "at": match[1]}
    led = urlsplit(step["answer_headers"].get("location", "")).path.split("/")
    asked = urlsplit(step["url"]).path.split("/")
    for at, part in enumerate(led):
        if _NUMBERED.fullmatch(part) and part not in asked:
            yield part, {"from": "location", "at": at}
    try:
        body = json.loads(step["answer"])
    except ValueError:
        return
    yield from _leaves(body, [])


def _leaves(value: Any, path: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves(one, [*path, key])
    elif isinstance(value, list):
        for number, one in enumerate(value[:20]):
            yield from _leaves(one, [*path, number])
    elif isinstance(value, str) and path:
        if _LABEL.fullmatch(value) or (len(value) >= 8 and _ID.search(str(path[-1]))):
            yield value, {"from": "json", "at": path}
    elif isinstance(value, int) and not isinstance(value, bool) and path and _ID.search(str(path[-1])):
        yield str(value), {"from": "json", "at": path}


def _sent(step: Mapping[str, Any]) -> str:
    return "\n".join([step["url"], step["body"], *step["headers"].values()])


def _renamed(text: str, value: str, name: str) -> str:
    return re.sub(rf"(?<![\w-]){re.escape(value)}(?![\w-])", lambda _: name, text)


def _rename(step: dict[str, Any], value: str, name: str, *, everywhere: bool) -> None:
    path = step["url"].split("://", 1)[-1].find("/")
    head = step["url"][: len(step["url"]) - len(step["url"].split("://", 1)[-1]) + max(path, 0)]
    step["url"] = head + _renamed(step["url"][len(head) :], value, name)
    step["lands"] = _renamed(step["lands"], value, name)
    if everywhere:
        step["body"] = _renamed(step["body"], value, name)
        step["headers"] = {key: _renamed(text, value, name) for key, text in step["headers"].items()}
