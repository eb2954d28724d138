"""Policy tests: questions with the answer that their author expects, and what of the policies they reach."""

from .cases import BadTests, Case, read_cases
from .coverage import Coverage, Failure, Report, run
from .mutants import Mutant, mutants
from .mutation import Outcome, TestsFail, mutate

__all__ = [
    "BadTests",
    "Case",
    "Coverage",
    "Failure",
    "Mutant",
    "Outcome",
    "Report",
    "TestsFail",
    "mutants",
    "mutate",
    "read_cases",
    "run",
]
