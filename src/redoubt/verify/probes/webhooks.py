"""Webhooks: deliveries that should not be taken, or taken as new once more."""

from __future__ import annotations

import base64
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

from ..errors import NoSubject, Unshown
from ..lab import Lab
from ..probe import probe
from ..signing import SCHEMES
from .deliveries import Effects, Sender, hooks, refused_without_effect

_PROOF = re.compile(r"(?<=[=,])[A-Za-z0-9+/_-]{20,}=*$")
"""The proof itself at the end of a signature header, whichever scheme wrote it."""


@probe("WHK-1")
def forged_deliveries(lab: Lab) -> None:
    """Send deliveries whose signature is missing, short, foreign, of another scheme, or over other bytes."""
    for hook in hooks(lab):
        sender, effects = Sender(lab, hook), Effects(lab, hook)
        with lab.attack(
            f"forge deliveries to {hook.path}", "a 2xx, or the canary among the effects"
        ) as attack:
            good = lab.canary()
            answer, _, _ = sender.deliver(good)
            attack.positive("a proper delivery is accepted", answer.ok, str(answer.status))
            if effects.seen:
                attack.positive("and has its effect", effects.happened(good))
            for words, body, headers, canary in _forgeries(lab, sender):
                answer = sender.send(body, headers, signed=False)
                refused_without_effect(attack, answer, effects, canary, words)
            if effects.seen:
                time.sleep(0.5)


def _forgeries(lab: Lab, sender: Sender) -> list[tuple[str, bytes, dict[str, str], str]]:
    name = sender.scheme.header
    made = []

    def one(words: str, change: object) -> None:
        canary, message = lab.canary(), sender.message()
        body = sender.body(message, canary)
        headers = sender.headers(body, message)
        if callable(change):
            body, headers = change(body, headers, message)
        made.append((words, body, {key: value for key, value in headers.items() if value}, canary))

    one("a delivery without a signature", lambda b, h, m: (b, {**h, name: ""}))
    one("a truncated signature", lambda b, h, m: (b, {**h, name: h[name][:-6]}))
    one("an empty signature", lambda b, h, m: (b, {**h, name: _PROOF.sub("", h[name])}))
    wrong = "whsec_" + base64.b64encode(b"k" * 24).decode()
    one("a signature by another key", lambda b, h, m: (b, sender.headers(b, m, secret=wrong)))
    one("a signature by the empty key", lambda b, h, m: (b, sender.headers(b, m, secret="whsec_")))  # noqa: S106
    one("a body changed after signing", lambda b, h, m: (b[:-1] + b" }", h))
    one("a body serialised anew", lambda b, h, m: (json.dumps(json.loads(b), indent=1).encode(), h))
    for other, scheme in SCHEMES.items():
        if other != sender.hook.scheme:
            one(f"a {other} signature", lambda b, h, m, s=scheme: (b, s.sign(b, wrong, int(time.time()), m)))
    if sender.hook.scheme == "stripe":
        one("a test-scheme signature", lambda b, h, m: (b, {name: h[name].replace("v1=", "v0=")}))
    if sender.hook.scheme == "github":
        one("a SHA-1 signature", lambda b, h, m: (b, {"X-Hub-Signature": "sha1=" + "0" * 40}))
    return made


@probe("WHK-2")
def stale_and_future_deliveries(lab: Lab) -> None:
    """Send deliveries that were signed too long ago, or in the future."""
    stamped = [hook for hook in hooks(lab) if SCHEMES[hook.scheme].timestamped]
    if not stamped:
        raise NoSubject("no scheme in use signs a time")
    for hook in stamped:
        sender, effects = Sender(lab, hook), Effects(lab, hook)
        with lab.attack(f"send old and future deliveries to {hook.path}", "a 2xx, or an effect") as attack:
            for offset in (0, -min(60, hook.tolerance // 2)):
                message, canary = sender.message(), lab.canary()
                body = sender.body(message, canary)
                answer = sender.send(body, sender.headers(body, message, offset=offset), offset=offset)
                attack.positive(
                    f"a delivery signed {-offset} s ago is accepted", answer.ok, str(answer.status)
                )
            for offset in (-hook.tolerance - 30, -86_400, hook.tolerance + 30, 86_400, -1_700_000_000):
                message, canary = sender.message(), lab.canary()
                body = sender.body(message, canary)
                answer = sender.send(body, sender.headers(body, message, offset=offset), offset=offset)
                refused_without_effect(
                    attack, answer, effects, canary, f"a delivery signed {offset:+} s from now"
                )


def replay_deliveries(lab: Lab) -> None:
    """Send the same delivery again: in a row, at once, and from elsewhere."""
    for hook in hooks(lab):
        sender, effects = Sender(lab, hook), Effects(lab, hook)
        with lab.attack(
            f"replay a delivery to {hook.path}", "its effect happens twice, or it is taken as new"
        ) as attack:
            canary = lab.canary()
            answer, body, headers = sender.deliver(canary)
            attack.positive("the delivery is accepted", answer.ok, str(answer.status))
            if effects.seen:
                attack.positive("and has its effect", effects.happened(canary))
            again = [sender.send(body, headers) for _ in range(3)]
            again.append(sender.send(body, headers, source="elsewhere"))
            if hook.scheme == "github":
                again.append(sender.send(body, {**headers, "X-GitHub-Delivery": sender.message()}))
            crowd_canary, message = lab.canary(), sender.message()
            crowd_body = sender.body(message, crowd_canary)
            crowd_headers = sender.headers(crowd_body, message)
            with ThreadPoolExecutor(12) as pool:
                crowd = [
                    one.result()
                    for one in [pool.submit(sender.send, crowd_body, crowd_headers) for _ in range(12)]
                ]
            attack.positive("one of many at once is accepted", any(one.ok for one in crowd))
            if effects.seen:
                effects.happened(crowd_canary)
                for name, one in (("in a row", canary), ("at once", crowd_canary)):
                    count = effects.settled(one, 0.7)
                    attack.check(
                        count == 1, f"a delivery replayed {name} had its effect {count} times", answer
                    )
            else:
                fresh = [one for one in again if one.ok and one.text == answer.text]
                attack.check(not fresh, "a replayed delivery is answered like a new one", again[0])
                news = {one.text for one in crowd if one.ok}
                taken = [one for one in crowd if one.ok and one.text == answer.text]
                attack.check(
                    len(taken) <= 1 or len(news) == 0,
                    f"{len(taken)} of 12 at once were answered like a new one",
                )


@probe("WHK-3")
def replays(lab: Lab) -> None:
    """Replay deliveries."""
    replay_deliveries(lab)


@probe("WHK-8", phase=2, beside="steady")
def raw_payloads_are_kept(lab: Lab) -> None:
    """Send odd bytes, read them back byte for byte, and verify the old signature again."""
    hook = hooks(lab)[0]
    for one in hooks(lab):
        hook = one if one.effect is not None else hook
    sender = Sender(lab, hook)
    with lab.attack("read an old delivery back", "a byte differs, or it lies in the clear") as attack:
        message, canary, hidden = sender.message(), lab.canary(), lab.canary()
        whole = {**json.loads(sender.body(message, canary)), "kept_nowhere_else": hidden}
        body = (
            json.dumps(whole, separators=(", ", " : "), ensure_ascii=False)[:-1]
            + ',  "odd": "ü\\u00fc\\t",\n "z":1.0}\n'
        ).encode()
        headers = sender.headers(body, message)
        answer = sender.send(body, headers)
        attack.positive("the delivery is accepted", answer.ok, str(answer.status))
        found = lab.wait(lambda: _find_raw(lab, canary), 10, 0.5)
        attack.positive("the delivery can be read back", found)
        delivery, kept, verified = found
        attack.check(kept == body, f"the stored body differs ({len(kept)} bytes, sent {len(body)})")
        attack.check(verified, f"the signature of the stored delivery {delivery} does not verify any more")
        for name, given in lab.target.stores.items():
            clear = any(hidden.encode() in part for part in _bytes_of(given))
            if name == "inbox":
                attack.check(not clear, f"the raw payload lies in the clear in the {name} store")


def _bytes_of(path: str) -> list[bytes]:
    found = []
    for suffix in ("", "-wal"):
        try:
            with open(path + suffix, "rb") as file:
                found.append(file.read())
        except OSError:
            continue
    return found


def _find_raw(lab: Lab, canary: str) -> tuple[str, bytes, bool] | None:
    listed = lab.command("deliveries")
    if listed.returncode != 0:
        raise Unshown(f"deliveries cannot be listed: {listed.stderr[-200:]}")
    for one in json.loads(listed.stdout or "[]")[:20]:
        shown = lab.command("raw_delivery", id=str(one["id"]))
        if shown.returncode == 0 and canary in shown.stdout:
            checked = lab.command("verify_delivery", id=str(one["id"]))
            return str(one["id"]), shown.stdout.encode(), checked.returncode == 0
    return None
