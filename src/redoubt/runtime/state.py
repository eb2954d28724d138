"""The state folder of an app: keys, certificates, databases; made once, never overwritten."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from redoubt.core.clock import SystemClock
from redoubt.core.errors import RedoubtError
from redoubt.core.files import write_private
from redoubt.core.ids import Ids, SystemIds
from redoubt.core.keys import Keyring
from redoubt.core.secrets import SecretRef
from redoubt.core.settings import Settings

DEV_SECRETS = "dev-secrets.json"


class StateError(RedoubtError):
    """The app's state folder cannot be used as it is."""

    code = "state"


def references_in(settings: BaseModel) -> list[SecretRef]:
    """Return every secret reference that `settings`, or a section of it, hold, each once."""
    found: dict[str, SecretRef] = {}

    def walk(value: object) -> None:
        if isinstance(value, SecretRef):
            found.setdefault(str(value), value)
        elif isinstance(value, Mapping):
            for item in value.values():
                walk(item)
        elif isinstance(value, list | tuple):
            for item in value:
                walk(item)
        elif isinstance(value, BaseModel):
            for name in type(value).model_fields:
                walk(getattr(value, name))

    walk(settings)
    return list(found.values())


def development_secrets(
    settings: Settings, environment: Mapping[str, str], ids: Ids | None = None
) -> dict[str, str]:
    """Return values for the `env:` references that a development run was not given, the same at every start.

    They are random, lie in the state folder for the owner only, and exist so that a fresh clone runs without
    accounts anywhere. In production this returns nothing, so a missing secret stops the start.
    """
    if not settings.development:
        return {}
    ids = ids or SystemIds(SystemClock())
    path = settings.state_dir / DEV_SECRETS
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    missing = [
        ref.locator
        for ref in references_in(settings)
        if ref.scheme == "env" and ref.locator not in environment and ref.locator not in known
    ]
    if missing:
        for name in missing:
            known[name] = _development_value(name, ids)
        write_private(path, json.dumps(known, indent=1, sort_keys=True).encode())
    return {name: value for name, value in known.items() if name not in environment}


def _development_value(name: str, ids: Ids) -> str:
    """A provider's key looks like one, so that every scanner and redactor meets it as such; a webhook secret is base64."""
    lowered = name.lower()
    if "stripe" in lowered and "webhook" not in lowered and "signing" not in lowered:
        return "sk_test_" + ids.random_bytes(24).hex()
    if "webhook" in lowered or "secret" in lowered or "signing" in lowered:
        import base64

        return "whsec_" + base64.b64encode(ids.random_bytes(24)).decode()
    return ids.token(32)


def ensure_keyring(settings: Settings) -> Keyring:
    """Open the app's keyring; in development, make it and its master secret when both are missing.

    Raises KeyringMissing in production, StateError when a keyring stands without its master secret.
    """
    return _ensure(settings, settings.keyring_path, settings.master_ref)


def ensure_charge_keyring(settings: Settings) -> None:
    """Make the charge service's own keyring in development when it is missing; it never shares the app's."""
    folder = settings.state_dir / "charge"
    master = settings.charge.master or SecretRef(
        "file", str(Path(settings.app.state_dir) / "charge" / "master.key")
    )
    path = settings.base / settings.charge.keyring if settings.charge.keyring else folder / "keyring"
    _ensure(settings, path, master)


def _ensure(settings: Settings, path: Path, master: SecretRef) -> Keyring:
    if path.exists():
        return Keyring.open(path, settings.reveal(master))
    if settings.development and master.scheme == "file":
        file = settings.base / master.locator
        if not file.exists():
            write_private(file, SystemIds(SystemClock()).token(48).encode())
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Keyring.create(path, settings.reveal(master))


def make_state_folder(settings: Settings) -> None:
    """Make the state folder for the owner only; raises StateError when others may read it."""
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    mode = settings.state_dir.stat().st_mode
    if mode & 0o077:
        os.chmod(settings.state_dir, 0o700)
        if settings.state_dir.stat().st_mode & 0o077:
            raise StateError(
                f"others can read {settings.state_dir}.", hint=f"Run: chmod 700 {settings.state_dir}"
            )
