"""Mutants: for each proven control, changes to app or library that remove its guard. Verify must call each broken."""

from .catalogue import ALL, PROVEN, quick
from .model import APP, LIBRARY, Edit, Mutant, MutantStale

__all__ = ["ALL", "APP", "LIBRARY", "PROVEN", "Edit", "Mutant", "MutantStale", "quick"]
