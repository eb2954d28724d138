"""Stripe's form encoding with nested brackets, read strictly: what no operation knows is refused by name."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

from .errors import invalid

MAX_FIELDS = 300
_PATH = re.compile(r"([A-Za-z0-9_]{1,64})((?:\[[^\[\]]{0,64}\]){0,6})")
_LARGEST = 99_999_999  # Stripe's cap: eight digits


def parse_form(data: bytes) -> Params:
    """Return the form in `data`: `a[b]=1` nests, `a[0]=1` and `a[]=1` make lists."""
    try:
        pairs = parse_qsl(
            data.decode("utf-8"), keep_blank_values=True, strict_parsing=bool(data), max_num_fields=MAX_FIELDS
        )
    except (ValueError, UnicodeDecodeError):
        raise invalid("", "The request body is not a valid form.") from None
    root: dict[str, Any] = {}
    for name, value in pairs:
        match = _PATH.fullmatch(name)
        if not match:
            raise invalid(name[:64], "Invalid parameter name.")
        here: Any = root
        steps = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        for step in steps[:-1]:
            here = here.setdefault(step, {})
            if not isinstance(here, dict):
                raise invalid(name, "A parameter is given both as a value and as an object.")
        last = steps[-1] or str(len(here))
        if last in here:
            raise invalid(name, "A parameter is given twice.")
        here[last] = value
    return Params(root)


class Params:
    """One level of a request's parameters; `finish` refuses what nobody read."""

    def __init__(self, given: dict[str, Any], at: str = "") -> None:
        self._given = given
        self._at = at
        self._read: set[str] = set()
        self._below: list[Params] = []

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def is_object(self, name: str) -> bool:
        """Say whether `name` was given with members of its own."""
        return isinstance(self._given.get(name), dict)

    def text(self, name: str, *, limit: int = 500) -> str | None:
        """Return a text, or None when it is absent or empty."""
        self._read.add(name)
        value = self._given.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str) or len(value) > limit or "\0" in value:
            raise invalid(self._name(name), f"Invalid string: must be at most {limit} characters")
        return value

    def required(self, name: str, *, limit: int = 500) -> str:
        """Return a text that must be there."""
        value = self.text(name, limit=limit)
        if value is None:
            raise invalid(
                self._name(name), f"Missing required param: {self._name(name)}.", "parameter_missing"
            )
        return value

    def choice(self, name: str, allowed: tuple[str, ...], default: str | None = None) -> str | None:
        """Return one of `allowed`."""
        value = self.text(name) or default
        if value is not None and value not in allowed:
            raise invalid(
                self._name(name), f"Invalid {self._name(name)}: must be one of {', '.join(allowed)}"
            )
        return value

    def integer(self, name: str, *, low: int = 0, high: int = _LARGEST) -> int | None:
        """Return a plain decimal integer within bounds."""
        value = self.text(name, limit=20)
        if value is None:
            return None
        if not re.fullmatch(r"-?[0-9]{1,15}", value):
            raise invalid(
                self._name(name), f"Invalid integer: {self._name(name)}", "parameter_invalid_integer"
            )
        if not low <= int(value) <= high:
            code = "amount_too_large" if int(value) > high else "parameter_invalid_integer"
            raise invalid(self._name(name), f"Invalid integer: must be from {low} to {high}", code)
        return int(value)

    def amount(self, name: str = "amount") -> int:
        """Return an amount in minor units that must be there: at least 1."""
        value = self.integer(name, low=1)
        if value is None:
            raise invalid(
                self._name(name), f"Missing required param: {self._name(name)}.", "parameter_missing"
            )
        return value

    def currency(self, name: str = "currency") -> str:
        """Return a three-letter currency in lower case."""
        value = self.required(name).lower()
        if not re.fullmatch(r"[a-z]{3}", value):
            raise invalid(self._name(name), f"Invalid currency: {value[:8]}")
        return value

    def boolean(self, name: str) -> bool:
        """Return `true` or `false`, false when absent."""
        return self.choice(name, ("true", "false"), "false") == "true"

    def metadata(self, name: str = "metadata") -> dict[str, str]:
        """Return up to 50 texts by name (docs.stripe.com/api/metadata)."""
        self._read.add(name)
        value = self._given.get(name, {})
        if value == "":
            return {}
        good = isinstance(value, dict) and len(value) <= 50
        if not good or any(not isinstance(v, str) or len(k) > 40 or len(v) > 500 for k, v in value.items()):
            raise invalid(
                self._name(name), "Invalid metadata: up to 50 keys of 40 characters, values of 500."
            )
        return dict(value)

    def sub(self, name: str) -> Params:
        """Return the parameters below `name`, empty when absent."""
        self._read.add(name)
        value = self._given.get(name, {})
        if not isinstance(value, dict):
            raise invalid(self._name(name), "Invalid object")
        below = Params(value, self._name(name))
        self._below.append(below)
        return below

    def items(self, name: str, limit: int = 100) -> list[Params]:
        """Return a list of objects."""
        self._read.add(name)
        found = [
            Params({"": value}, self._name(name))
            if not isinstance(value, dict)
            else Params(value, self._name(name))
            for value in self._listed(name, limit)
        ]
        self._below += found
        return found

    def texts(self, name: str, limit: int = 20) -> list[str]:
        """Return a list of texts."""
        self._read.add(name)
        values = self._listed(name, limit)
        if any(not isinstance(value, str) or len(value) > 500 for value in values):
            raise invalid(self._name(name), "Invalid array of strings")
        return values

    def finish(self) -> None:
        """Refuse what was given and never read, as Stripe does."""
        for name in self._given:
            if name not in self._read:
                raise invalid(
                    self._name(name), f"Received unknown parameter: {self._name(name)}", "parameter_unknown"
                )
        for below in self._below:
            below.finish()

    def _listed(self, name: str, limit: int) -> list[Any]:
        value = self._given.get(name, {})
        if value == "":
            return []
        if (
            not isinstance(value, dict)
            or not all(key.isdigit() and len(key) < 4 for key in value)
            or len(value) > limit
        ):
            raise invalid(self._name(name), "Invalid array")
        return [value[key] for key in sorted(value, key=int)]

    def _name(self, name: str) -> str:
        return f"{self._at}[{name}]" if self._at else name
