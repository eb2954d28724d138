"""Webhooks: signed deliveries in, kept exactly once, and signed deliveries out."""
