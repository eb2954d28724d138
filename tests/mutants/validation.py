"""Mutants of what is validated on any target: cookie flags, replayed deliveries, failures that tell."""

from __future__ import annotations

from .model import Mutant, library
from .webhooks import FORGETFUL

MUTANTS = (
    Mutant(
        "VAL-3",
        "the-session-travels-in-the-clear",
        [library("identity/cookies.py", "secure=True, httponly=True", "httponly=True")],
    ),
    Mutant("VAL-8", "every-delivery-is-new", [FORGETFUL]),
    Mutant(
        "VAL-8",
        "an-unsigned-header-names-the-delivery",  # and the catalogue's own check lets it
        [
            library(
                "webhooks/schemes/catalogue.py",
                "    identity=None,  # x-github-delivery is not signed",
                '    identity=Header("x-github-delivery"),  # x-github-delivery is not signed',
            ),
            library("webhooks/schemes/model.py", "        if not signed:\n", "        if False:\n"),
            library(
                "webhooks/schemes/model.py",
                "        return tuple(dict.fromkeys(names))\n",
                "        names += [self.identity.name] if isinstance(self.identity, Header) else []\n"
                "        return tuple(dict.fromkeys(names))\n",
            ),
        ],
    ),
    Mutant(
        "VAL-10",
        "bad-input-is-a-server-error",
        [library("runtime/crud.py", "    except (ValueError, RecursionError) as error:\n        raise Problem(400, \"json\"",
                 "    except ZeroDivisionError as error:\n        raise Problem(400, \"json\"")],
    ),
    Mutant(
        "VAL-10",
        "the-wrong-status-for-nobody",
        [library("authz/enforce.py", 'return Problem(401, "unauthenticated", "Log in first."',
                 'return Problem(400, "unauthenticated", "Log in first."')],
    ),
    Mutant(
        "VAL-10",
        "refusals-tell-what-exists",
        [library("authz/enforce.py", "        if await self._hidden(permission, caller, resource):\n", "        if False:\n")],
    ),
)  # fmt: skip
