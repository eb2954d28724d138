"""Expected verdicts: a file beside a spec that says what a verification must show; it may only improve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml
from attrs import frozen

from .catalogue import catalogue
from .errors import ControlsError
from .verdicts import Finding, Verdict


class ExpectationInvalid(ControlsError):
    """The file of expected verdicts cannot be used."""

    code = "expected-invalid"


@frozen
class Departure:
    """One control whose verdict is another than was expected."""

    control: str
    expected: Verdict
    found: Verdict

    @property
    def better(self) -> bool:
        """Whether this is an improvement: only `proven` is.

        That a control no longer applies is none. It may be true, or a probe may have lost its subject; so a person
        looks, and writes it into the file.
        """
        return self.found is Verdict.PROVEN


def load(path: Path) -> dict[str, Verdict]:
    """Return the expected verdict of every control; raises ExpectationInvalid unless each stands there exactly once."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        expected = {str(control): Verdict(str(verdict)) for control, verdict in data["verdicts"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ExpectationInvalid(f"{path} holds no expected verdicts.") from error
    wanted = {control.id for control in catalogue()}
    if expected.keys() != wanted:
        odd = sorted(expected.keys() ^ wanted)
        raise ExpectationInvalid(f"{path}: missing or unknown: {', '.join(odd)}.")
    return expected


def compare(expected: Mapping[str, Verdict], findings: Iterable[Finding]) -> list[Departure]:
    """Return every control whose verdict is another than expected, in the order of the findings."""
    return [
        Departure(finding.control, expected[finding.control], finding.verdict)
        for finding in findings
        if finding.verdict is not expected[finding.control]
    ]
