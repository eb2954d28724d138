"""The controls that build emits for, run enforces and verify proves: the catalogue, its verdicts and their evidence."""

from .catalogue import Area, Catalogue, Control, catalogue
from .errors import CatalogueInvalid, ControlsError, UnknownControl
from .evidence import Check, Evidence, Exchange, Outcome
from .verdicts import Finding, Verdict

__all__ = [
    "Area",
    "Catalogue",
    "CatalogueInvalid",
    "Check",
    "Control",
    "ControlsError",
    "Evidence",
    "Exchange",
    "Finding",
    "Outcome",
    "UnknownControl",
    "Verdict",
    "catalogue",
]
