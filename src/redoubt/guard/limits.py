"""Rate limits: a sliding window per rule and key, in memory or shared between replicas through Redis or Valkey.

**A limit is never a lock-out.** Nothing is marked, no account is closed, and waiting is all it takes. Yet a limit
keyed by account alone would let a stranger spend the real user's attempts; so key by what the caller controls:
`account_key(account, network)` counts a stranger's network apart from the owner's, and `device=` gives a browser that
logged in before a bucket of its own. `network_of` folds an address to its network (/24, /56), or a single machine
with IPv6 would have as many buckets as it likes.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
from collections.abc import Sequence

from attrs import frozen
from limits import RateLimitItemPerSecond
from limits.storage import Storage, storage_from_string
from limits.storage.base import SlidingWindowCounterSupport
from limits.strategies import SlidingWindowCounterRateLimiter

from ..core.base import Core
from .errors import LimitsUnavailable
from .window import WindowStorage

_SOCKET_SECONDS = 0.25
_MAX_NAMES = 4096


@frozen(cache_hash=True)
class Rule:
    """At most `amount` hits in any `per_seconds` seconds; settings may override it by `name`."""

    name: str
    amount: int
    per_seconds: int


@frozen
class Verdict:
    """Whether a hit was within its limit, after how many seconds to come back, and how many hits are left.

    `degraded` says that the shared store was out of reach and this process counted for itself.
    """

    allowed: bool
    retry_after: int
    remaining: int
    degraded: bool = False


class Limiter:
    """Counts hits. Keys are stored as keyed hashes: neither an address nor an account is readable in the store."""

    def __init__(self, core: Core) -> None:
        """Open the store of the settings; raises LimitsUnavailable for one that this install cannot use."""
        self._overrides = core.settings.limits.rules
        self._items: dict[Rule, RateLimitItemPerSecond] = {}  # rules are declared, so there are few
        self._mac = core.keys.mac("limits")
        self._names: dict[tuple[str, str], str] = {}  # the same address comes again and again
        self._taken: dict[tuple[Rule, str], tuple[str, int, int]] = {}
        self._windows = WindowStorage(core.clock)
        self._local = SlidingWindowCounterRateLimiter(self._windows)
        url = core.settings.limits_store().reveal()
        self._shared = None if url.startswith("memory:") else SlidingWindowCounterRateLimiter(_connect(url))

    def hit(self, rule: Rule, key: str) -> Verdict:
        """Count one hit of `key` under `rule` and say whether it is within the limit.

        A hit beyond the limit is not counted. When the shared store cannot be reached, this process counts alone:
        the limit then holds per process instead of not at all.
        """
        if self._shared is not None:
            return self.hit_all([(rule, key)])
        window = self._taken.get((rule, key))  # asked on every request: one look at the window does
        if window is None:
            item, name = self._item(rule, key)
            if len(self._taken) >= _MAX_NAMES:
                self._taken.clear()
            window = self._taken[rule, key] = item.key_for(name), item.amount, item.get_expiry()
        left = self._windows.take(*window)
        if left is None:
            return Verdict(False, _wait(self._local, *self._item(rule, key)), 0)
        return Verdict(True, 0, left)

    def hit_all(self, hits: Sequence[tuple[Rule, str]]) -> Verdict:
        """Count one hit under several rules; the strictest verdict counts, and a refused hit spends nothing."""
        if self._shared is not None:
            try:
                return self._count(self._shared, hits, degraded=False)
            except Exception:  # any failure of a remote store: count here
                return self._count(self._local, hits, degraded=True)
        return self._count(self._local, hits, degraded=False)

    async def hit_async(self, rule: Rule, key: str) -> Verdict:
        """Do `hit` without holding up the event loop: a shared store is asked from a thread."""
        if self._shared is None:
            return self.hit(rule, key)
        return await asyncio.to_thread(self.hit, rule, key)

    def _count(
        self, limiter: SlidingWindowCounterRateLimiter, hits: Sequence[tuple[Rule, str]], *, degraded: bool
    ) -> Verdict:
        wanted = [self._item(rule, key) for rule, key in hits]
        for item, name in wanted:
            if not limiter.test(item, name):
                return Verdict(False, _wait(limiter, item, name), 0, degraded)
        remaining = 1 << 31
        for item, name in wanted:
            if not limiter.hit(item, name):  # another hit took the last place in between
                return Verdict(False, _wait(limiter, item, name), 0, degraded)
            remaining = min(remaining, limiter.get_window_stats(item, name).remaining)
        return Verdict(True, 0, remaining, degraded)

    def _item(self, rule: Rule, key: str) -> tuple[RateLimitItemPerSecond, str]:
        item = self._items.get(rule)
        if item is None:
            limit = self._overrides.get(rule.name, rule)
            item = RateLimitItemPerSecond(limit.amount, limit.per_seconds, namespace="redoubt")
            self._items[rule] = item
        name = self._names.get((rule.name, key))
        if name is None:
            if len(self._names) >= _MAX_NAMES:
                self._names.clear()
            name = self._names[rule.name, key] = self._mac.hexdigest(f"{rule.name}\0{key}")[:40]
        return item, name


def network_of(address: str) -> str:
    """Return the network that `address` counts for: /24 of IPv4, /56 of IPv6 (mapped IPv4 as IPv4)."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"  # one bucket for all that is malformed
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    prefix = 24 if parsed.version == 4 else 56
    return str(ipaddress.ip_network(f"{parsed}/{prefix}", strict=False))


def account_key(account: str, network: str, *, device: str | None = None) -> str:
    """Return the key of one account as seen from one network, or from a device that it logged in with before."""
    origin = f"device\0{device}" if device else f"network\0{network}"
    return f"account\0{account.strip().lower()}\0{origin}"


def _wait(limiter: SlidingWindowCounterRateLimiter, item: RateLimitItemPerSecond, name: str) -> int:
    """Return the whole seconds after which one more hit fits: a true answer, so that honest clients need one retry."""
    window = float(item.get_expiry())
    storage = limiter.storage
    assert isinstance(storage, SlidingWindowCounterSupport)
    before, before_left, now_count, now_left = storage.get_sliding_window(
        item.key_for(name), item.get_expiry()
    )
    if now_count >= item.amount:
        wait = now_left - window  # the current window must end first
    elif before:
        wait = before_left - window * (item.amount - now_count) / before
    else:
        wait = 0.0
    return max(1, math.floor(wait) + 1)


def _connect(url: str) -> Storage:
    try:
        storage = storage_from_string(
            url, wrap_exceptions=True, socket_timeout=_SOCKET_SECONDS, socket_connect_timeout=_SOCKET_SECONDS
        )
    except Exception as error:  # its own configuration error carries the URL, which may hold a password
        raise LimitsUnavailable(
            f"the store of the rate limits cannot be used ({type(error).__name__}).",
            hint="Install the Redis client, or set limits.store to memory://.",
        ) from None
    assert isinstance(storage, Storage)
    return storage
