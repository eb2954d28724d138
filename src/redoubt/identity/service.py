"""What identity does, as one object: the runtime binds it, routes and the console call it."""

from __future__ import annotations

from .flows.account import AccountFlow
from .flows.enrolment import EnrolmentFlow
from .flows.magic import MagicFlow
from .flows.signin import SignInFlow
from .flows.stepup import StepUpFlow


class IdentityService(SignInFlow, MagicFlow, StepUpFlow, AccountFlow, EnrolmentFlow):
    """Registration, login, links, sessions, step-up and enrolment of one tenant, each call one transaction."""
