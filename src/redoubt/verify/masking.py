"""Names for secrets: what a browser, a link or a key must not show in a report appears there as `<kind:owner>`."""

from __future__ import annotations

import re
import threading
from urllib.parse import quote

_TOKENS = re.compile(
    r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|\b(?:sk|rk)_(?:live|test)_\w{8,}|\bwhsec_[\w+/=-]{16,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.S,
)
_MIN = 6
MAX_BODY = 4000
_SHORT, _MOST_KNOWN = 300, 20_000
"""Up to which length a text is remembered with what it became, and how many are: headers come back all the time."""


class Masker:
    """Replaces each known secret by its label, and whatever looks like one by `<secret>`."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}
        # Longest first: no secret is replaced inside a longer one.
        self._ordered: tuple[tuple[str, str], ...] = ()
        self._known: dict[str, str] = {}
        self._lock = threading.Lock()

    def learn(self, value: str, kind: str, owner: str = "") -> str:
        """Remember `value` as a secret and return its label; the same value keeps its first label."""
        with self._lock:
            if len(value) < _MIN:
                return value
            if value not in self._labels:
                stem = f"{kind}:{owner}" if owner else kind
                taken = sum(
                    label == f"<{stem}>" or label.startswith(f"<{stem}~") for label in self._labels.values()
                )
                label = f"<{stem}~{taken + 1}>" if taken else f"<{stem}>"
                self._labels[value] = label
                self._labels.setdefault(quote(value, safe=""), label)
                self._ordered = tuple(sorted(self._labels.items(), key=lambda one: len(one[0]), reverse=True))
                self._known = {}
            return self._labels[value]

    def text(self, text: str) -> str:
        """Return `text` with every secret replaced, cut at `MAX_BODY` characters."""
        known = self._known  # goes with the secrets of this moment: whoever learns one begins another
        if text in known:
            return known[text]
        shown = text
        for value, label in self._ordered:
            if value in shown:
                shown = shown.replace(value, label)
        shown = _TOKENS.sub("<secret>", shown)
        shown = shown if len(shown) <= MAX_BODY else shown[:MAX_BODY] + "…"
        if len(text) <= _SHORT and len(known) < _MOST_KNOWN:
            known[text] = shown
        return shown
