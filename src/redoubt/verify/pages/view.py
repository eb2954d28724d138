"""What a page showed: its text, where it leads, and the forms and buttons on it, as plain values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

_TAG = re.compile(r"(?s)<(script|style)\b.*?</\1>|<[^>]*>")
_MOMENT = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")
_ID = re.compile(r"[0-9a-fA-F]{8,}|\d|^[0-9A-Za-z_-]{16,}$")
TOKEN = re.compile(r"(?i)csrf|xsrf|_token$|^token$|nonce|authenticity|verification")
_MONEY = re.compile(r"(?i)price|amount|total|cost|fee|balance")

HARVEST = r"""() => {
  const at = (u) => { try { return new URL(u, document.baseURI).href } catch { return "" } };
  const words = (e) => (e.innerText || e.value || e.getAttribute("aria-label") || "").trim().slice(0, 80);
  const field = (e) => ({name: e.name, kind: e.tagName === "TEXTAREA" ? "textarea" : e.tagName === "SELECT" ? "select"
    : (e.type || "text").toLowerCase(), value: String(e.value).slice(0, 4000), required: !!e.required, checked: !!e.checked,
    options: e.options ? [...e.options].slice(0, 50).map((o) => o.value) : [], longest: e.maxLength > 0 ? e.maxLength : 0,
    least: e.min || "", mode: e.inputMode || ""});
  const forms = [];
  [...document.forms].slice(0, 80).forEach((form, index) => {
    const parts = [...HTMLFormElement.prototype.__lookupGetter__("elements").call(form)].slice(0, 300);
    const presses = parts.filter((e) => !e.disabled && (e.type === "submit" || e.type === "image"));
    const fields = parts.filter((e) => e.name && !e.disabled && !["submit", "image", "button", "reset", "fieldset"].includes(e.type)).map(field);
    (presses.length ? presses : [null]).slice(0, 6).forEach((press, button) => forms.push({index, button, click: false, fields,
      action: at((press && press.getAttribute("formaction")) || form.getAttribute("action") || location.href),
      method: ((press && press.getAttribute("formmethod")) || form.getAttribute("method") || "get").toLowerCase(),
      encoding: (form.getAttribute("enctype") || "application/x-www-form-urlencoded").toLowerCase(),
      words: press ? words(press) : "", press: press && press.name ? [press.name, press.value] : null}));
  });
  const loose = [...document.querySelectorAll("button, [role=button], input[type=button]")].filter((b) => !b.form && !b.closest("form"));
  loose.slice(0, 40).forEach((b, index) => forms.push({index, button: 0, click: true, fields: [], action: location.href,
    method: "post", encoding: "", words: words(b), press: null}));
  const links = [...document.querySelectorAll("a[href]")].slice(0, 500).map((a) => at(a.getAttribute("href"))).filter((u) => u);
  const meta = document.querySelector('meta[name="csrf-token"], meta[name="csrf_token"], meta[name="_csrf"]');
  const body = document.querySelector("main") || document.body;
  return {url: location.href, title: document.title, text: (body ? body.innerText : "").slice(0, 40000),
    links: [...new Set(links)], forms, token: meta ? meta.content : "", scripts: document.scripts.length};
}"""
"""Run in a page, says what is on it; bounded in everything that the page decides."""

NEAR = r"""(canary) => {
  const holds = [...document.querySelectorAll("body *")].filter((e) => !e.children.length && e.textContent.includes(canary)).slice(0, 5);
  for (let e of holds) {
    for (let up = 0; e && up < 5 && e !== document.body; up++, e = e.parentElement) {
      const links = [...(e.matches("a[href]") ? [e] : []), ...e.querySelectorAll("a[href]")];
      const forms = [...e.querySelectorAll("form")];
      if (links.length || forms.length) return {links: links.slice(0, 10).map((a) => a.href), forms: forms.slice(0, 10).map((f) => [...document.forms].indexOf(f))};
    }
  }
  return {links: [], forms: []};
}"""
"""Run in a page, says which links and forms stand nearest to a text."""


@frozen
class Field:
    """One input of a form."""

    name: str
    kind: str
    value: str = ""
    required: bool = False
    checked: bool = False
    options: tuple[str, ...] = ()
    longest: int = 0
    least: str = ""
    mode: str = ""

    @property
    def token(self) -> bool:
        """Whether it carries what proves that the form is the sender's own."""
        return self.kind == "hidden" and bool(TOKEN.search(self.name))

    @property
    def money(self) -> bool:
        """Whether it takes an amount."""
        return self.mode in ("decimal", "numeric") or bool(_MONEY.search(self.name))

    @property
    def free(self) -> bool:
        """Whether it takes any text, and so a canary."""
        return self.kind in ("text", "textarea") and not self.money and not 0 < self.longest < 17


@frozen
class Form:
    """One way to act on a page: a form with one of its buttons, or (`click`) a button that a script listens to."""

    page: str
    index: int
    button: int
    click: bool
    action: str
    method: str
    words: str
    fields: tuple[Field, ...] = ()
    press: tuple[str, str] | None = None
    encoding: str = ""

    @property
    def path(self) -> str:
        """The path that it sends to."""
        return urlsplit(self.action).path

    @property
    def creates(self) -> bool:
        """Whether it looks as one that makes something: text can be written, and none is yet."""
        free = [one for one in self.fields if one.free]
        return bool(free) and not any(one.value for one in free)

    def key(self, identity: str = "") -> str:
        """Return what it does, in words that are the same for every object of the kind (`identity` is its id)."""
        path = self.path.replace(identity, "{id}") if identity else self.path
        return f"{self.method.upper()} {path}" + (f" ({self.words})" if self.click or self.press else "")


@frozen
class View:
    """What one identity saw at an address."""

    asked: str
    url: str = ""
    status: int = 0
    title: str = ""
    text: str = ""
    links: tuple[str, ...] = ()
    forms: tuple[Form, ...] = ()
    token: str = ""
    scripts: int = 0
    raw: bool = False
    """Whether the text is what the app sent, not what a page made of it."""

    @property
    def ok(self) -> bool:
        """Whether the page that was asked for came back, not a refusal nor the way to a login."""
        return 200 <= self.status < 300 and path_of(self.url) == path_of(self.asked)

    def holds(self, canary: str) -> bool:
        """Say whether a text stands on it, in its words or its inputs; an address may only echo what was asked for."""
        inputs = (one.value for form in self.forms for one in form.fields)
        return any(canary in one for one in (self.text, self.title, *inputs))

    def state(self) -> tuple[bool, str]:
        """Return what must stay as it is while nobody changes anything: whether it is there, and its words."""
        words = _TAG.sub(" ", self.text) if self.raw else self.text
        return self.ok, _MOMENT.sub("", words) if self.ok else ""

    def leads_to(self, path: str) -> bool:
        """Say whether it links to a path of the app."""
        return f'"{path}"' in self.text if self.raw else path in map(path_of, self.links)


def view_of(asked: str, status: int, found: Mapping[str, Any]) -> View:
    """Return what `HARVEST` found as a value."""
    forms = []
    for one in found.get("forms", ()):
        fields = tuple(
            Field(
                str(each["name"]), str(each["kind"]), str(each["value"]), bool(each["required"]), bool(each["checked"]),
                tuple(map(str, each["options"])), int(each["longest"]), str(each["least"]), str(each["mode"]),
            )
            for each in one["fields"]
        )  # fmt: skip
        press = (str(one["press"][0]), str(one["press"][1])) if one["press"] else None
        forms.append(
            Form(
                str(found["url"]), int(one["index"]), int(one["button"]), bool(one["click"]), str(one["action"]),
                str(one["method"]), str(one["words"]), fields, press, str(one["encoding"]),
            )
        )  # fmt: skip
    return View(
        asked, str(found["url"]), status, str(found["title"]), str(found["text"]), tuple(map(str, found["links"])),
        tuple(forms), str(found["token"]), int(found["scripts"]),
    )  # fmt: skip


def path_of(url: str) -> str:
    """Return an address's path with its query, without host, fragment and last slash."""
    parts = urlsplit(url)
    return (parts.path.rstrip("/") or "/") + (f"?{parts.query}" if parts.query else "")


def pattern(url: str) -> str:
    """Return an address's path with what looks like an id replaced: pages of one pattern show one kind of thing."""
    parts = urlsplit(url)
    return "/".join(
        "{id}" if _ID.search(part) else part for part in (parts.path.rstrip("/") or "/").split("/")
    )


def identity_of(first: str, second: str) -> tuple[str, str]:
    """Return the ids by which two addresses of one kind differ; empty where they differ in more than one part."""
    ours, theirs = (re.split(r"[/?&=]", path_of(one)) for one in (first, second))
    if len(ours) != len(theirs):
        return "", ""
    apart = [(one, other) for one, other in zip(ours, theirs, strict=True) if one != other]
    return apart[0] if len(apart) == 1 else ("", "")
