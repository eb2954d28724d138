"""Who does what with accounts: people are signed in by the app; the worker mails links and forgets what is over."""

from __future__ import annotations

from redoubt.core.db import use

from .store import challenges, devices, enrolments, magic_links, passkeys, sessions, users

GRANTS = {
    "app": (
        use(users, insert=True, update=("email_verified_at", "epoch")),
        use(passkeys, insert=True, update=("sign_count", "backed_up", "last_used_at"), delete=True),
        use(challenges, insert=True, update=("used_at",)),
        use(magic_links, insert=True, update=("used_at",)),
        use(sessions, insert=True, update=("token_mac", "amr", "step_up_until", "seen_at", "revoked_at")),
        use(devices, insert=True, update=("last_seen_at",)),
        use(enrolments, insert=True, update=("used_at", "used_by")),
    ),
    "worker": (
        use(users),
        use(devices, select=("user_id", "browser_mac")),
        use(magic_links, update=("mailed_at",), delete=True),
        use(challenges, select=("expires_at",), delete=True),
        use(sessions, select=("expires_at", "revoked_at"), delete=True),
    ),
}
