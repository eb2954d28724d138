"""Sends a corpus of sensitive values through every endpoint of an app, then searches every output for it."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from attrs import define, field

from ..browser import Answer
from ..errors import Unshown
from ..lab import Lab
from ..probe import probe
from ..samples import sample
from .deliveries import Sender

PII = {
    "email": "marta.kovacs@people.example",
    "phone": "+36 30 555 0184",
    "iban": "GB82 WEST 1234 5698 7654 32",
    "card": "4000 0566 5566 5556",
}


@define
class Sprayed:
    """What was sent: the values, how many requests, and what came back."""

    values: dict[str, str]
    sent: int = 0
    answers: list[Answer] = field(factory=list)


def spray(lab: Lab, corpus: dict[str, str]) -> Sprayed:
    """Send each value of the corpus in bodies, paths, queries and headers of every operation and webhook."""
    made = Sprayed(dict(corpus))
    people = [lab.anonymous()]
    people.append(lab.person(lab.a_role(), "sprayer").browser)
    for browser in people:
        for one in lab.api.operations:
            for name, value in corpus.items():
                path = one.at(id=quote(value, safe=""))
                body = (
                    sample(lab.api, one.body, value, lambda _: None, optional=True)
                    if one.body is not None
                    else None
                )
                attempts: list[tuple[str, Any, dict[str, str]]] = [(path, body, {})]
                if name == next(iter(corpus)):
                    attempts.append(
                        (f"{one.at(id='1')}?q={quote(value)}", body, {"X-Note": value, "Referer": value})
                    )
                for where, sent, headers in attempts:
                    try:
                        answer = browser.send(one.method, where, json=sent, headers=headers, allow_429=True)
                    except Unshown:
                        continue
                    made.sent += 1
                    if len(made.answers) < 4000:
                        made.answers.append(answer)
    for hook in lab.target.webhooks:
        sender = Sender(lab, hook)
        for value in corpus.values():
            message = sender.message()
            raw = sender.body(message, value)
            made.answers.append(sender.send(raw, sender.headers(raw, message)))
            made.answers.append(sender.send(raw, {}, signed=False))
            made.sent += 2
    return made


@probe("WHK-9", phase=3, beside="traces")
def personal_data_stays_out_of_logs(lab: Lab) -> None:
    """Send personal data everywhere, then search every output."""
    search_outputs(lab, PII, "personal data")


def search_outputs(lab: Lab, corpus: dict[str, str], what: str) -> None:
    """Send a corpus through every endpoint, then search the logs for it."""
    with lab.attack(
        f"send {what} everywhere, then search every log", "a value of the corpus stands in a log"
    ) as attack:
        attack.positive("there are logs to search", output_files(lab))
        marked = spray(lab, corpus)
        attack.positive("endpoints were reached", marked.sent)
        time.sleep(1.0)
        files = output_files(lab)
        for path in files:
            for name in found_in(path, marked.values):
                attack.broke(f"{path.name} holds the {name} of the corpus")
        attack.details.append(f"{marked.sent} requests, {len(files)} logs")


def search_everything(lab: Lab, corpus: dict[str, str], what: str) -> None:
    """Send a corpus through every endpoint, then search answers, logs and stores for it."""
    with lab.attack(
        f"send {what} everywhere, then search answers, logs and stores", "one of them stands there"
    ) as attack:
        marked = spray(lab, corpus)
        attack.positive("endpoints were reached", marked.sent)
        accepted = [one for one in marked.answers if one.ok and one.status != 204]
        for answer in marked.answers:
            for name, value in marked.values.items():
                if any(one in answer.text for one in spellings(value)):
                    attack.broke(f"the answer of {answer.url.partition('?')[0]} repeats a {name}", answer)
        time.sleep(1.0)
        stores = [Path(one) for one in dict.fromkeys(lab.target.stores.values())]
        searched = [*output_files(lab), *(Path(f"{one}{end}") for one in stores for end in ("", "-wal"))]
        searched = [path for path in searched if path.is_file()]
        attack.positive("there are stores or logs to search", searched)
        for path in searched:
            for name in found_in(path, marked.values):
                attack.broke(f"{path.name} holds a {name}")
        attack.details.append(
            f"{marked.sent} requests, {len(accepted)} of them accepted, {len(searched)} files searched"
        )


def found_in(path: Path, values: dict[str, str]) -> list[str]:
    """Return the names of the values that stand in a file, in any of their spellings."""
    data = path.read_bytes()
    return [name for name, value in values.items() if any(one.encode() in data for one in spellings(value))]


def spellings(value: str) -> set[str]:
    """Return a value as it may be written down: as sent, without its separators, percent-encoded."""
    bare = value.replace(" ", "").replace("-", "") if any(char.isdigit() for char in value) else value
    digits = re.sub(r"\D", "", unquote(value))
    return {value, bare, quote(value), quote(value, safe=""), *([digits] if len(digits) >= 13 else [])}


def output_files(lab: Lab) -> list[Path]:
    """Return the files that the target calls outputs, folders walked."""
    found: list[Path] = []
    for given in lab.target.outputs:
        path = Path(given)
        if path.is_dir():
            found += [one for one in sorted(path.rglob("*")) if one.is_file()]
        elif path.is_file():
            found.append(path)
    if lab.world.running is not None:
        found.append(lab.world.running.log)
    return found
