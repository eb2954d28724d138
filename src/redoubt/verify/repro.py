"""From a report's evidence to a script that sends the same again and says whether the effect is still there.

The script needs httpx and nothing of this project. What an answer gave (cookies, tokens, ids) it takes from the new
answers; what nothing in the evidence gave it asks for by environment variable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from .errors import TargetInvalid

_LABEL = re.compile(r"<[a-z][\w .:~-]*(?::[^<>\n]{1,120})?>")
_ID = re.compile(r"(^|_)(id|uuid|token|key)$")


def script(report: Mapping[str, Any], control_id: str) -> str:
    """Return a Python script that replays the evidence of a control; raises TargetInvalid when there is none."""
    finding = next((one for one in report.get("controls", ()) if one["id"] == control_id.upper()), None)
    if finding is None:
        raise TargetInvalid(
            f"the report says nothing of {control_id}.", hint="Run redoubt verify with --only, or all."
        )
    evidence = _worth_replaying(finding)
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
    captures(steps)
    steps = needed(steps)
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


def _worth_replaying(finding: Mapping[str, Any]) -> Mapping[str, Any]:
    """Choose the attack that succeeded, else the first that has requests."""
    order = {"broke": 0, "held": 1, "inconclusive": 2}
    ranked: list[Mapping[str, Any]] = sorted(
        finding["evidence"], key=lambda one: (order.get(one["outcome"], 3), not one["exchanges"])
    )
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
        "answer": received["body"],
        "answer_headers": dict(received["headers"]),
        "capture": [],
    }


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
                for one in steps[at + 1 :]:
                    _rename(one, value, names[value])
    for step in steps:
        for member in ("answer", "answer_headers"):
            step.pop(member)


def needed(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the steps that the last one rests on: what its actor did, and what gave the values that are sent."""
    wanted = {len(steps) - 1}
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


def _rename(step: dict[str, Any], value: str, name: str) -> None:
    pattern = re.compile(rf"(?<![\w-]){re.escape(value)}(?![\w-])")
    path = step["url"].split("://", 1)[-1].find("/")
    head = step["url"][: len(step["url"]) - len(step["url"].split("://", 1)[-1]) + max(path, 0)]
    step["url"] = head + pattern.sub(name, step["url"][len(head) :])
    step["body"] = pattern.sub(name, step["body"])
    step["headers"] = {key: pattern.sub(name, text) for key, text in step["headers"].items()}
