"""What identity refuses.

    IdentityError
    ├── CeremonyRefused    a passkey's answer does not hold; `reason` says why, for the audit log only
    ├── ChallengeRefused   no such open challenge for this browser and purpose
    ├── LinkRefused        a magic or enrolment link that is unknown, used, expired or of another browser
    ├── AddressRefused     not an e-mail address that we can write to
    ├── AuthenticationRequired   nobody is signed in
    ├── StepUpRequired     a fresh passkey assertion is needed first (RFC 9470)
    ├── LastLoginWay       removing it would lock its owner out
    ├── NoPasskey          a passkey is needed and the user has none
    ├── SignUpClosed       this way in is not offered
    ├── NotFound           no such object of this user
    └── TooManyAttempts    a limit was met; `retry_after` seconds remain

A client never learns which of the first three reasons it was: `as_problem` gives each family one body.
"""

from __future__ import annotations

from redoubt.core.errors import RedoubtError
from redoubt.core.problem import Problem

STEP_UP_MAX_AGE = 300


class IdentityError(RedoubtError):
    """Identity said no."""

    code = "identity"
    reason = "refused"


class CeremonyRefused(IdentityError):
    """A WebAuthn response was refused; `reason` is a stable word for the audit log."""

    code = "passkey-refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the passkey's answer was refused ({reason}).", hint="Start the ceremony again.")
        self.reason = reason


class ChallengeRefused(IdentityError):
    """There is no open challenge of this purpose for this browser."""

    code = "challenge-refused"

    def __init__(self, reason: str = "challenge") -> None:
        super().__init__("there is no open challenge for this browser.", hint="Start the ceremony again.")
        self.reason = reason


class LinkRefused(IdentityError):
    """A one-time link does not open anything here and now."""

    code = "link-refused"

    def __init__(self, reason: str) -> None:
        super().__init__("this link opens nothing here and now.", hint="Ask for a new one.")
        self.reason = reason


class AddressRefused(IdentityError):
    """The text is no e-mail address that we can write to."""

    code = "address-refused"
    reason = "address"

    def __init__(self) -> None:
        super().__init__("that is not an e-mail address.", hint="Give one like name@example.org.")


class AuthenticationRequired(IdentityError):
    """Nobody is signed in."""

    code = "authentication-required"

    def __init__(self) -> None:
        super().__init__("nobody is signed in.", hint="Sign in first.")


class StepUpRequired(IdentityError):
    """A passkey assertion not older than five minutes is needed (RFC 9470, section 3)."""

    code = "step-up-required"

    def __init__(self) -> None:
        super().__init__("a fresh passkey assertion is needed.", hint="Step up, then try again.")


class LastLoginWay(IdentityError):
    """Removing this passkey would leave its owner no way to sign in."""

    code = "last-login-way"

    def __init__(self) -> None:
        super().__init__("this is the only way to sign in.", hint="Add another passkey first.")


class NoPasskey(IdentityError):
    """The user has no passkey to answer with."""

    code = "no-passkey"

    def __init__(self) -> None:
        super().__init__("there is no passkey to use.", hint="Add one to the account first.")


class SignUpClosed(IdentityError):
    """This app does not offer that way in."""

    code = "sign-up-closed"

    def __init__(self) -> None:
        super().__init__("this way in is not offered.", hint="Ask an operator for an enrolment link.")


class NotFound(IdentityError):
    """The user has no such object."""

    code = "not-found"

    def __init__(self) -> None:
        super().__init__("there is no such object of yours.")


class TooManyAttempts(IdentityError):
    """A limit was met."""

    code = "too-many-attempts"
    reason = "limited"

    def __init__(self, retry_after: float, rule: str) -> None:
        super().__init__("too many attempts.", hint="Wait, then try again.")
        self.retry_after = max(1, int(-(-retry_after // 1)))
        self.rule = rule


def step_up_problem() -> Problem:
    """Return the challenge of RFC 9470, section 3: 401 that names the age an authentication may have."""
    challenge = (
        'Bearer error="insufficient_user_authentication", '
        f'error_description="A fresh passkey assertion is needed", max_age="{STEP_UP_MAX_AGE}"'
    )
    return Problem(
        401,
        StepUpRequired.code,
        "A fresh passkey assertion is needed.",
        detail="Use your passkey again, then repeat the request.",
        headers={"WWW-Authenticate": challenge},
    )


def as_problem(error: IdentityError) -> Problem:
    """Return what a client may see of `error`: one body a family, whatever the reason was."""
    match error:
        case StepUpRequired():
            return step_up_problem()
        case TooManyAttempts():
            return Problem(
                429,
                error.code,
                "Too many attempts.",
                detail="Wait, then try again.",
                headers={"Retry-After": str(error.retry_after)},
            )
        case AuthenticationRequired():
            return Problem(401, error.code, "Sign in first.")
        case CeremonyRefused() | ChallengeRefused():
            return Problem(401, "sign-in-refused", "That did not sign you in.", detail="Start again.")
        case LinkRefused():
            return Problem(403, error.code, "This link opens nothing here.", detail="Ask for a new one.")
        case AddressRefused():
            return Problem(400, error.code, "That is not an e-mail address.")
        case LastLoginWay():
            return Problem(
                409, error.code, "This is the only way to sign in.", detail="Add another passkey first."
            )
        case NoPasskey():
            return Problem(409, error.code, "There is no passkey to use.", detail="Add one first.")
        case SignUpClosed():
            return Problem(403, error.code, "This way in is not offered.")
        case NotFound():
            return Problem(404, error.code, "There is nothing here.")
        case _:
            return Problem(403, "refused", "That is refused.")
