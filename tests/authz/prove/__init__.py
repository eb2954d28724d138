"""Proofs of policy changes."""
