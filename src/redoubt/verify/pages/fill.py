"""What is written into a form: a canary wherever text goes, the least that the other inputs take."""

from __future__ import annotations

import re

from .view import Field, Form

LEAVE = re.compile(
    r"(?i)log.?out|sign.?out|log.?in|sign.?in|register|sign.?up|enrol|invit|passkey|password|session|switch|\bkill|shut.?down"
    r"|polic|approv|emergenc|\bpay\b|charge|refund|checkout|deploy|restore|reset|import|upload|search|subscri|backup"
)
"""Forms and links that are other controls' matter, or would disturb the app for everybody: named, never pressed."""
_UNSAFE = re.compile(r"(?i)delete|remove|destroy|revoke|disable|cancel")
_TEXT = {"tel": "+43 1 2345678", "url": "https://canary.example/", "date": "2031-02-03", "time": "10:30"}
_TEXT |= {"datetime-local": "2031-02-03T10:30", "month": "2031-02", "week": "2031-W05", "color": "#336699"}


def acceptable(form: Form, base_url: str) -> bool:
    """Say whether a form may be sent in an attack: it stays in the app, and disturbs nobody else."""
    if any(one.kind in ("password", "file") for one in form.fields):
        return False
    if not form.click and (form.method != "post" or not form.action.startswith(base_url + "/")):
        return False
    return not LEAVE.search(f"{form.path if not form.click else ''} {form.words}")


def follows(path: str) -> bool:
    """Say whether a link is followed in a walk: looking must change nothing and end no session."""
    last = path.split("?", 1)[0].rsplit("/", 1)[-1]
    return not LEAVE.search(path) and not _UNSAFE.search(path) and "." not in last


def made_of(form: Form, canary: str, attempt: int = 0) -> dict[str, str]:
    """Return values for a form that makes something; the second attempt leaves out what is optional."""
    values: dict[str, str] = {}
    numbers = 0
    for one in form.fields:
        if one.kind == "hidden" or (attempt and not one.required and not one.free):
            continue
        if one.kind in ("number", "range") and not one.required:
            numbers += 1
            if numbers > 1:  # one of a list of quantities is enough
                continue
        value = _value(one, canary)
        if value is not None:
            values[one.name] = value
    return values


def changed_by(form: Form, canary: str) -> dict[str, str]:
    """Return the one value that a form over something that exists is changed by; none where no text goes in."""
    for one in form.fields:
        if one.free:
            return {one.name: _cut(canary, one)}
    return {}


def _value(one: Field, canary: str) -> str | None:
    if one.free:
        return _cut(canary, one)
    if one.kind in ("select", "select-one", "select-multiple"):
        return one.value or (next((each for each in one.options if each), None) if one.required else None)
    if one.kind in ("checkbox", "radio"):
        return (one.value or "on") if one.required else None
    if one.kind == "email":
        return f"{canary}@people.example"
    if one.kind in ("number", "range"):
        least = one.least if re.fullmatch(r"\d+", one.least) else "0"
        return str(max(1, int(least)))
    if one.money:
        return "12.00" if one.mode != "numeric" else "12"
    if one.kind in ("text", "textarea"):
        return canary[: one.longest]
    return _TEXT.get(one.kind)


def _cut(canary: str, one: Field) -> str:
    return canary[: one.longest] if one.longest else canary
