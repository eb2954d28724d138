"""What the prover cannot judge."""

from __future__ import annotations


class Unsupported(Exception):
    """A policy uses what has no exact form in logic here: nothing is claimed of it, so it counts as wider."""
