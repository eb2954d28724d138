"""Guard: what every domain leans on: rate limits, risk score, approvals by a second person, kill switches."""

from pathlib import Path

from ..core.db import Domain
from . import store
from .approvals import Approvals
from .board import SwitchBoard
from .errors import ApprovalError, Killed
from .grants import GRANTS
from .kinds import AssertionVerifier, DryRun, Executor, Kind, Kinds
from .limits import Limiter, Rule, Verdict
from .models import Approval, Decision, Switch, VerifiedAssertion
from .risk import RiskSignals, score

DOMAIN = Domain(
    name="guard",
    migrations=Path(__file__).parent / "migrations",
    metadata=store.metadata,
    triggers=store.TRIGGERS,
    grants=GRANTS,
)

__all__ = [
    "DOMAIN",
    "Approval",
    "ApprovalError",
    "Approvals",
    "AssertionVerifier",
    "Decision",
    "DryRun",
    "Executor",
    "Killed",
    "Kind",
    "Kinds",
    "Limiter",
    "RiskSignals",
    "Rule",
    "Switch",
    "SwitchBoard",
    "Verdict",
    "VerifiedAssertion",
    "score",
]
