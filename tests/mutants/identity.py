"""Mutants of identity: links and challenges that work twice or elsewhere, cookies that leak, limits that are gone."""

from __future__ import annotations

from .model import Mutant, app, library

_SIGN_IN = "identity/flows/signin.py"

MUTANTS = (
    Mutant(
        "IDN-1",
        "link-opens-in-any-browser",
        [library("identity/magic.py", "                magic_links.c.browser_mac == browser.mac,\n", "")],
        quick=True,
    ),
    Mutant(
        "IDN-1",
        "link-opens-twice",
        [
            library(
                "identity/magic.py",
                "                magic_links.c.used_at.is_(None),\n                magic_links.c.expires_at > now,\n",
                "                magic_links.c.expires_at > now,\n",
            )
        ],
    ),
    Mutant(
        "IDN-1",
        "link-token-is-not-checked",
        [library("identity/links.py", "if not mac.verify(_message(kind, link_id), data[_ID:]):", "if False:")],
    ),
    Mutant(
        "IDN-1",
        "assertion-works-again",  # both layers: the challenge's single use and the passkey's counter
        [
            library("identity/challenges.py", "                challenges.c.used_at.is_(None),\n", ""),
            library(
                "identity/ceremony.py",
                "if (auth_data.sign_count or known.sign_count) and auth_data.sign_count <= known.sign_count:",
                "if False:",
            ),
        ],
    ),
    Mutant(
        "IDN-1",
        "signature-is-not-checked",
        [
            library(
                "identity/ceremony.py",
                "        verify_authentication_response(\n            credential=AuthenticationCredential(",
                "        (lambda **_: None)(\n            credential=AuthenticationCredential(",
            )
        ],
    ),
    Mutant(
        "IDN-1",
        "a-password-after-all",
        [
            app(
                "app/extra.py",
                "from fastapi import APIRouter\n",
                "from fastapi import APIRouter, Request\nfrom redoubt.authz import public\n",
            ),
            app(
                "app/extra.py",
                "router = APIRouter()\n",
                'router = APIRouter()\n\n\n@router.post("/login")\n@public()\n'
                "async def login(request: Request) -> dict[str, str]:\n"
                '    """Log in with a password."""\n'
                '    return {"welcome": (await request.json())["username"]}\n',
            ),
        ],
    ),
    Mutant(
        "IDN-9",
        "scripts-read-the-session",
        [library("identity/cookies.py", 'secure=True, httponly=True, samesite="lax"', 'secure=True, samesite="lax"')],
        quick=True,
    ),
    Mutant(
        "IDN-9",
        "other-sites-send-the-session",
        [library("identity/cookies.py", 'httponly=True, samesite="lax"', 'httponly=True, samesite="none"')],
    ),
    Mutant(
        "IDN-11",
        "no-limit",
        [library("identity/throttle.py", "        if not verdict.allowed:\n", "        if False:\n")],
    ),
    Mutant(
        "IDN-11",
        "one-window-for-the-whole-world",
        [
            library(
                "identity/throttle.py",
                "(ASK_HOST, self._key(endpoint, host_of(browser.address))),",
                '(ASK_HOST, self._key(endpoint, "everybody")),',
            )
        ],
    ),
)  # fmt: skip
