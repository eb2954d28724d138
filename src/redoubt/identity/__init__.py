"""Who is there: passkeys, magic links, sessions, step-up and one-time enrolment. No password anywhere."""

from pathlib import Path

from redoubt.core.db import Domain

from . import store
from .enrolment import init_operators
from .errors import IdentityError, StepUpRequired, as_problem, step_up_problem
from .grants import GRANTS
from .mail import SmtpMailer
from .models import Browser, IdentityConfig, Risk, SessionState, SignIn, Subject
from .ports import Mailer, RequestGuard, RoleAssigner, RoleReader
from .routes import routes
from .service import IdentityService

DOMAIN = Domain(
    name="identity",
    migrations=Path(__file__).parent / "migrations",
    metadata=store.metadata,
    grants=GRANTS,
)

__all__ = [
    "DOMAIN",
    "Browser",
    "IdentityConfig",
    "IdentityError",
    "IdentityService",
    "Mailer",
    "RequestGuard",
    "Risk",
    "RoleAssigner",
    "RoleReader",
    "SessionState",
    "SignIn",
    "SmtpMailer",
    "StepUpRequired",
    "Subject",
    "as_problem",
    "init_operators",
    "routes",
    "step_up_problem",
]
