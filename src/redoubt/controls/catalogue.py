"""The catalogue of controls, read from the package's own data."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from attrs import field, frozen

from .errors import CatalogueInvalid, UnknownControl

_ID = re.compile(r"[A-Z]{3}-[1-9][0-9]?")
_ASVS = re.compile(r"v5\.0\.0-[1-9][0-9]?(?:\.[1-9][0-9]?){2}")
_API = re.compile(r"API(?:[1-9]|10)")
_PCI = re.compile(r"[1-9][0-9]?(?:\.[1-9][0-9]?){1,3}")
_MEMBERS = {"control", "enforce", "prove", "asvs", "api", "pci"}


@frozen
class Control:
    """One thing that must hold of an app: what, what enforces it, what proves it, and which standards ask for it.

    `asvs` cites OWASP ASVS 5.0.0, `api` the OWASP API Security Top 10 2023, `pci` PCI DSS 4.0.1: identifiers only.
    `enforce` is empty for a control that only tests others.
    """

    id: str
    area: str
    control: str
    enforce: str
    prove: str
    asvs: tuple[str, ...] = ()
    api: tuple[str, ...] = ()
    pci: tuple[str, ...] = ()

    @property
    def standards(self) -> Mapping[str, tuple[str, ...]]:
        """Each standard's name with the ids that this control serves; standards without any are left out."""
        named = {
            "OWASP ASVS 5.0.0": self.asvs,
            "OWASP API Security Top 10 2023": self.api,
            "PCI DSS 4.0.1": self.pci,
        }
        return {name: ids for name, ids in named.items() if ids}


@frozen
class Area:
    """A group of controls: its key, its title and its controls in order."""

    key: str
    title: str
    controls: tuple[Control, ...]


@frozen
class Catalogue:
    """All controls, in the order in which people read them."""

    areas: tuple[Area, ...]
    _by_id: Mapping[str, Control] = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {control.id: control for control in self})

    def __iter__(self) -> Iterator[Control]:
        return (control for area in self.areas for control in area.controls)

    def __len__(self) -> int:
        return sum(len(area.controls) for area in self.areas)

    def __getitem__(self, control_id: str) -> Control:
        """Return the control of that id, in any case; raises UnknownControl with what is near."""
        found = self._by_id.get(control_id.strip().upper())
        if found is None:
            near = difflib.get_close_matches(control_id.upper(), self._by_id, 3, 0.5)
            hint = f"Near: {', '.join(near)}." if near else "List them: redoubt controls list"
            raise UnknownControl(f"There is no control {control_id!r}.", hint=hint)
        return found


@cache
def catalogue() -> Catalogue:
    """Return the package's catalogue; read once. Raises CatalogueInvalid when its file was damaged."""
    return parse(files(__package__).joinpath("catalogue.yaml").read_text(encoding="utf-8"))


def parse(text: str) -> Catalogue:
    """Return the catalogue that `text` spells; raises CatalogueInvalid for anything unknown, doubled or missing."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CatalogueInvalid("The catalogue is not YAML.") from error
    if not isinstance(data, dict) or not data:
        raise CatalogueInvalid("The catalogue holds no areas.")
    areas = tuple(_area(str(key), value) for key, value in data.items())
    ids = [control.id for area in areas for control in area.controls]
    if doubled := sorted({one for one in ids if ids.count(one) > 1}):
        raise CatalogueInvalid(f"The catalogue holds twice: {', '.join(doubled)}.")
    return Catalogue(areas)


def _area(key: str, value: Any) -> Area:
    if not isinstance(value, dict) or set(value) != {"title", "controls"} or not value["controls"]:
        raise CatalogueInvalid(f"The area {key} needs exactly a title and controls.")
    return Area(
        key, str(value["title"]), tuple(_control(str(i), key, one) for i, one in value["controls"].items())
    )


def _control(control_id: str, area: str, value: Any) -> Control:
    if not _ID.fullmatch(control_id):
        raise CatalogueInvalid(f"{control_id!r} is no control id.")
    if not isinstance(value, dict) or not {"control", "prove"} <= set(value) <= _MEMBERS:
        raise CatalogueInvalid(
            f"{control_id} needs control and prove, and may have {', '.join(sorted(_MEMBERS))}."
        )
    cited = {name: tuple(map(str, value.get(name, ()))) for name in ("asvs", "api", "pci")}
    for name, pattern in (("asvs", _ASVS), ("api", _API), ("pci", _PCI)):
        if bad := [one for one in cited[name] if not pattern.fullmatch(one)]:
            raise CatalogueInvalid(f"{control_id} cites {', '.join(bad)}, which are no {name} ids.")
    return Control(
        control_id,
        area,
        str(value["control"]),
        str(value.get("enforce", "")),
        str(value["prove"]),
        **cited,
    )
