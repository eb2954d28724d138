"""Mutants of webhooks: signatures, freshness, replays, effects, windows and raw bytes that nobody looks after."""

from __future__ import annotations

from .model import Mutant, library

_VERIFIER = "webhooks/schemes/verifier.py"
_FRESH = "if signed_at is not None and not now - tolerance <= signed_at <= now + tolerance:"
FORGETFUL = library(
    "webhooks/inbox.py",
    '"endpoint": item.endpoint, "tenant": item.tenant, "identity": item.verified.identity,\n'
    '        "digest": item.verified.digest, "inbox_id": item.id, "first_at"',
    '"endpoint": item.endpoint, "tenant": item.tenant, "identity": item.id,\n'
    '        "digest": item.verified.digest, "inbox_id": item.id, "first_at"',
)
"""Every delivery is new: what is remembered is our id of it, not the sender's."""

LOGGED = library(
    "runtime/middleware.py",
    "        guard = self._guard\n        self._check_shape(scope, heads, request.method)\n",
    "        guard = self._guard\n        self._check_shape(scope, heads, request.method)\n"
    '        log.info("%s %s", request.method, request.path.split("/"))\n',
)
"""No fault while the redactor stands: an app may log the parts of its addresses."""

MUTANTS = (
    Mutant(
        "WHK-1",
        "any-signature-fits",
        [library(_VERIFIER, "            if hmac.compare_digest(expected, signature):\n", "            if signature:\n")],
        quick=True,
    ),
    Mutant(
        "WHK-1",
        "the-parsed-body-is-signed",
        [
            library(
                _VERIFIER,
                "base = signature_base(scheme, found, body)",
                'base = signature_base(scheme, found, json.dumps(json.loads(body), separators=(",", ":")).encode())',
            )
        ],
    ),
    Mutant("WHK-2", "time-is-not-checked", [library(_VERIFIER, _FRESH, "if False:")]),
    Mutant(
        "WHK-2",
        "the-future-is-welcome",
        [library(_VERIFIER, _FRESH, "if signed_at is not None and not now - tolerance <= signed_at:")],
    ),
    Mutant("WHK-3", "every-delivery-is-new", [FORGETFUL]),
    Mutant(
        "WHK-3",
        "each-process-remembers-for-itself",
        [
            library(
                FORGETFUL.file, FORGETFUL.find,
                FORGETFUL.replace.replace('item.id,\n', 'item.verified.identity + f"@{__import__(\'os\').getpid()}",\n', 1),
            )
        ],
    ),
    Mutant(
        "WHK-4",
        "done-before-the-effect",
        [
            library(
                "core/jobs/runner.py",
                "                def effect(tx: Tx) -> None:\n"
                "                    finish(tx, job, self._core.clock.now())\n"
                "                    run(tx, job)\n\n"
                "                await self._core.db.write(effect)\n",
                "                await self._core.db.write(lambda tx: finish(tx, job, self._core.clock.now()))\n"
                "                await asyncio.sleep(0.1)\n"
                "                await self._core.db.write(lambda tx: run(tx, job))\n",
            )
        ],
    ),
    Mutant(
        "WHK-5",
        "the-window-lives-with-the-process",
        [
            library("webhooks/service.py", "from .store import endpoints, insert_new, targets\n",
                    "from .store import dedupe, endpoints, insert_new, targets\n"),
            library(
                "webhooks/service.py",
                "        await self._core.db.write(lambda tx: schedule(tx, self._core))\n",
                "        await self._core.db.write(lambda tx: (tx.execute(sa.delete(dedupe)), schedule(tx, self._core))[1])\n",
            ),
            library(  # the app's own rights would stop it
                "webhooks/grants.py",
                '            update=("duplicates", "last_at"),\n            when=INCOMING,\n',
                '            update=("duplicates", "last_at"),\n            delete=True,\n            when=INCOMING,\n',
            ),
        ],
    ),
    Mutant(
        "WHK-5",
        "the-declared-window-is-not-held",
        [
            library("webhooks/service.py", "expires_at=now + config.dedupe_window,", "expires_at=now + config.dedupe_window / 7,"),
            library("webhooks/service.py", '"dedupe_window_s": int(config.dedupe_window.total_seconds()),',
                    '"dedupe_window_s": int(config.dedupe_window.total_seconds()) // 7,'),
        ],
    ),
    Mutant(
        "WHK-8",
        "the-parsed-body-is-kept",
        [
            library(
                "webhooks/service.py",
                "sealed=seal(core, name, inbox_id, now, kept_headers(config.scheme, raw), body),",
                "sealed=seal(core, name, inbox_id, now, kept_headers(config.scheme, raw),"
                ' __import__("json").dumps(__import__("json").loads(body)).encode()),',
            )
        ],
    ),
    Mutant(
        "WHK-8",
        "headers-are-not-kept",
        [library("webhooks/service.py", "kept_headers(config.scheme, raw), body)", "[], body)")],
    ),
    Mutant(
        "WHK-8",
        "kept-in-the-clear",
        [
            library("webhooks/inbox.py", "    return core.keys.seal(_SEAL, plain, _aad(endpoint, inbox_id, received_at))\n",
                    "    return plain\n"),
            library(
                "webhooks/inbox.py",
                '    plain = core.keys.open_sealed(_SEAL, row["sealed"], _aad(row["endpoint"], row["id"], row["received_at"]))\n',
                '    plain = bytes(row["sealed"])\n',
            ),
        ],
    ),
    Mutant(
        "WHK-9",
        "logs-are-not-redacted",
        [
            LOGGED,
            library("core/log.py", '"msg": _or_dropped(lambda: self._redactor.text(record.getMessage())),',
                    '"msg": _or_dropped(lambda: record.getMessage()),'),
        ],
    ),
    Mutant(
        "WHK-9",
        "addresses-of-people-are-not-known",
        [LOGGED, library("core/redact.py", 'if "@" in text or "%40" in text:', "if False:")],
    ),
)  # fmt: skip

HARMLESS = (LOGGED,)
"""Changes that a mutant rests on and that break nothing by themselves: the clean run makes them, too."""
