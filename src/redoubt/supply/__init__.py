"""Supply chain: what an app is made of, pinned and listed, and no secret in its files.

Everything here is a pure function over a file tree: it reads, runs nothing, and asks no network.
"""

from .check import check_tree
from .errors import LockUnreadable, SupplyError
from .installed import check_installed
from .locks import check_locks
from .models import Finding
from .requirements import Pin, parse_lock
from .sbom import Component, check_sbom, make_sbom
from .secrets import check_secrets

__all__ = [
    "Component",
    "Finding",
    "LockUnreadable",
    "Pin",
    "SupplyError",
    "check_installed",
    "check_locks",
    "check_sbom",
    "check_secrets",
    "check_tree",
    "make_sbom",
    "parse_lock",
]
