"""Mutants of the supply chain: a dependency without a hash, secrets in the repository."""

from __future__ import annotations

from .model import Mutant, app

_LITERAL = "c4Vb81kTzQ0m" + "Yx72RwLe95Ns"  # in two halves: this file holds no secret either

MUTANTS = (
    Mutant("SUP-1", "a-dependency-without-its-version", [app("requirements.txt", "\nattrs==26.1.0 \\\n", "\nattrs \\\n")]),
    Mutant(
        "SUP-1",
        "a-dependency-without-hashes",
        [app("requirements.txt", "\naiosmtplib==5.1.3 \\\n", "\ncolorama==0.4.6\naiosmtplib==5.1.3 \\\n")],
        quick=True,
    ),
    Mutant(
        "SUP-7",
        "a-literal-in-the-image",
        [app("Dockerfile", "USER 10001\n", f"USER 10001\nENV PARTNER_API_TOKEN={_LITERAL}\n")],
    ),
    Mutant(
        "SUP-7",
        "a-literal-in-the-code",
        [app("app/extra.py", "router = APIRouter()\n", f'router = APIRouter()\nPARTNER_TOKEN = "{_LITERAL}"\n')],
    ),
)  # fmt: skip
