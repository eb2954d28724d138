"""Redoubt: build, run and verify apps over one list of security controls."""

__version__ = "0.1.0"
