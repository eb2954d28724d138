"""How far a request strays from the login of its session: what the risk score is fed with."""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import datetime, timedelta
from functools import lru_cache

from redoubt.guard.risk import END, LOGIN_AGES, RiskSignals, score

from .models import Risk
from .network import network_of

_NO_TIME = timedelta(0)
_VERSION = re.compile(r"\d+(?:[._]\d+)*")


def drift(
    network: str,
    agent: str,
    new_device: bool,
    auth_time: datetime,
    now: datetime,
    address: str,
    seen_agent: str,
) -> Risk:
    """Return the risk of a request from `address` and `seen_agent` on a session that began at `network` and `agent`.

    A phone that changes its network is tolerated. A browser that updates itself keeps everything but its numbers.
    Any other agent is another browser: a session does not move between browsers.
    """
    age = now - auth_time
    step = bisect_right(LOGIN_AGES, age)
    return _drift(network, agent, new_device, LOGIN_AGES[step - 1] if step else _NO_TIME, address, seen_agent)


@lru_cache(4096)  # the same browser asks again and again
def _drift(
    network: str, agent: str, new_device: bool, login_age: timedelta, address: str, seen_agent: str
) -> Risk:
    moved = network_of(address) != network
    change = agent_change(agent, seen_agent)
    signals = RiskSignals(
        network="unknown" if moved else "none",
        agent=change,  # type: ignore[arg-type]
        known_device=not new_device,
        login_age=login_age,
    )
    return Risk(score(signals), network_changed=moved, agent_changed=change != "none", new_device=new_device)


def agent_change(before: str, after: str) -> str:
    """Return `none`, `version` where only numbers differ, or `other`."""
    if before == after:
        return "none"
    return "version" if _VERSION.sub("#", before) == _VERSION.sub("#", after) else "other"


def ends(risk: Risk) -> bool:
    """Say whether a session that strays this far must end."""
    return risk.score >= END
