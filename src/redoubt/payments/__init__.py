"""Payments: the app's side, which writes commands and mirrors what the charge service reports."""
