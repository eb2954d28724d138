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


class Masker:
    """Replaces each known secret by its label, and whatever looks like one by `<secret>`."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}
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
            return self._labels[value]

    def text(self, text: str, limit: int = MAX_BODY) -> str:
        """Return `text` with every secret replaced, cut at `limit` characters."""
        for value in self._ordered():
            if value in text:
                text = text.replace(value, self._labels[value])
        text = _TOKENS.sub("<secret>", text)
        return text if len(text) <= limit else text[:limit] + "…"

    def _ordered(self) -> list[str]:
        with self._lock:
            return sorted(self._labels, key=len, reverse=True)
