"""What was read of policies is shared by threads, each of which may make room for its own at any moment."""

from __future__ import annotations

import pytest

from redoubt.authz.policyset import PolicySource, parse
from redoubt.authz.prove import bounds

SCHEMA = """
entity User { level: Long };
entity Doc;
action read appliesTo { principal: User, resource: Doc };
"""


class Forgetful(dict[str, bounds.Bound]):
    """Another thread makes room right after somebody saw that a policy is there."""

    def __contains__(self, key: object) -> bool:
        there = super().__contains__(key)
        self.clear()
        return there


def test_policies_are_read_again_when_another_thread_made_room(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '@id("low") permit (principal, action, resource) when { principal.level < 3 };'
    policies = parse(PolicySource(SCHEMA, {"p.cedar": text}))
    monkeypatch.setattr(bounds, "_read", Forgetful())
    first = bounds.bound(policies)
    assert first["low"] == bounds.bound(policies)["low"]
    assert "low" in first
