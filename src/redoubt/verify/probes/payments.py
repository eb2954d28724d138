"""Payments: placeholder module header replaced below."""
