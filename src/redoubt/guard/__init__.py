"""Guard: what every domain leans on: rate limits, risk score, approvals by a second person, kill switches."""
