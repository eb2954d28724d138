"""Policy tests: questions with the answer that their author expects, and what of the policies they reach."""

from .cases import BadTests, Case, read_cases
from .coverage import Coverage, Failure, Report, run

__all__ = ["BadTests", "Case", "Coverage", "Failure", "Report", "read_cases", "run"]
