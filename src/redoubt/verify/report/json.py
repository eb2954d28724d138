"""The JSON report: what every other form is made from, and its JSON Schema."""

from __future__ import annotations

import json
from typing import Any

from redoubt.controls import Outcome, Verdict, catalogue

from ..access import ANY, NOBODY, OTHER, OWN, TENANT, Says
from ..engine import Report
from .access import in_order

VERSION = 2


def as_json(report: Report) -> str:
    """Return the whole run as JSON."""
    return json.dumps(document(report), indent=1, ensure_ascii=False) + "\n"


def document(report: Report) -> dict[str, Any]:
    """Return the whole run as a JSON value."""
    controls = []
    for finding in report.findings:
        control = catalogue()[finding.control]
        one = finding.as_json()
        shown = {"id": one.pop("id"), "area": control.area, "control": control.control}
        controls.append({**shown, **one})
    return {
        "version": VERSION,
        "target": report.subject,
        "seed": report.seed,
        "started": report.started,
        "seconds": report.seconds,
        "summary": {str(verdict): count for verdict, count in report.counts().items()},
        "controls": controls,
        "access": [one.as_json() for one in in_order(report.access)],
    }


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the JSON report."""
    text = {"type": "string"}
    headers = {"type": "object", "additionalProperties": text}
    exchange = _object(
        actor=text,
        source={**text, "description": "The loopback address that it was sent from."},
        sent=_object(method=text, url=text, headers=headers, body=text),
        received=_object(
            status={"type": "integer", "description": "0 when nothing answered."}, headers=headers, body=text
        ),
        note=text,
        signing={**text, "description": "What signed it: SCHEME REFERENCE SECONDS; empty for nothing."},
    )
    positive = _object(name=text, held={"type": "boolean"}, detail=text)
    tell = _object(exchange={"type": "integer"}, status={"type": "integer"}, contains=text, by=text)
    evidence = _object(
        attack=text,
        oracle={**text, "description": "What decides whether the attack succeeded."},
        outcome={"enum": [str(one) for one in Outcome]},
        detail=text,
        exchanges={"type": "array", "items": exchange},
        positive_controls={"type": "array", "items": positive},
        tell={"anyOf": [tell, {"type": "null"}], "description": "How the effect shows, for a replay."},
    )
    verdict = {"enum": [str(one) for one in Verdict]}
    control = _object(
        id={"type": "string", "pattern": "^[A-Z]{3}-[0-9]{1,2}$"},
        area=text,
        control=text,
        verdict=verdict,
        reason=text,
        add={**text, "description": "The line of the target file that would show it."},
        evidence={"type": "array", "items": evidence},
    )
    count = {"type": "integer", "minimum": 0}
    cell = _object(
        operation={**text, "description": "METHOD and path, as the app's description has them."},
        permission=text,
        role={**text, "description": "A role of the target file, or nobody."},
        relation={
            "enum": [ANY, OWN, OTHER, TENANT, NOBODY],
            "description": "Whose the object is to the role; any where the operation is about none.",
        },
        state={**text, "description": "The state of the object, where access is declared by it."},
        declared={"enum": [str(one) for one in Says], "description": "Empty where nothing says it."},
        source={**text, "description": "What declares it: target file or decision snapshot."},
        observed={
            "enum": [str(one) for one in Says],
            "description": "Empty where it was not tried or not told.",
        },
        status={"type": "integer", "description": "0 where nothing was sent."},
        differs={"type": "boolean", "description": "Observed and declared contradict each other."},
        control={**text, "description": "The control whose verdict a difference bears on."},
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A report of redoubt verify",
        "description": "One verdict a control, with its evidence. Secrets are masked as <kind:owner>.",
        **_object(
            version={"const": VERSION},
            target=text,
            seed={"type": "integer"},
            started={"type": "string", "format": "date-time"},
            seconds={"type": "number"},
            summary=_object(**{str(one): count for one in Verdict}),
            controls={"type": "array", "items": control},
            access={
                "type": "array",
                "items": cell,
                "description": "Who may do what, as it was observed, beside what is declared.",
            },
        ),
    }


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }
