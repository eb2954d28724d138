"""Settings of one app: `redoubt.toml` and the environment over it, checked whole before anything starts.

Every secret is a reference (`env:NAME`, `file:PATH`); a literal in its place is an error, and so is an unknown key.
The environment overrides by `REDOUBT_SECTION__KEY`; lists are JSON or separated by commas. What is not set under
`[database]`, `[charge]`, `[keys]` and `[audit]` lies under `app.state_dir`, so that moving it moves everything.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from .errors import RedoubtError
from .secrets import ALLOWED, Secret, SecretLiteral, SecretRef
from .settings_errors import explain

FILE_NAME = "redoubt.toml"
ENV_PREFIX = "REDOUBT_"
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?):([0-9]{1,5})")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")


class SettingsError(RedoubtError):
    """The settings cannot be used; `problems` holds one line for each mistake, none with a value in it."""

    code: ClassVar[str] = "settings"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("The settings are not valid:\n" + "\n".join(f"  {line}" for line in problems))
        self.problems = problems


def _listed(value: Any) -> Any:
    if isinstance(value, str):  # from the environment
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


def _host_port(value: str) -> str:
    match = _HOST_PORT.fullmatch(value)
    if not match or not 0 < int(match[2]) < 65536:
        raise PydanticCustomError("host_port", "must be HOST:PORT, without scheme, path or wildcard")
    return value.lower()


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise PydanticCustomError("network", "must be an IP address or network such as 10.0.0.0/8") from None


def _store_url(*schemes: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if value is None or isinstance(value, SecretRef):
            return value
        text = value if isinstance(value, str) else ""
        if text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            if _holds_password(text):
                raise PydanticCustomError(
                    "secret_literal",
                    "an address with a password is a secret: write {allowed}",
                    {"allowed": ALLOWED},
                )
            return text
        try:
            return SecretRef.parse(text)
        except SecretLiteral:
            allowed = " or ".join([*(f"{scheme}://" for scheme in schemes), ALLOWED])
            raise PydanticCustomError("store_url", "must be {allowed}", {"allowed": allowed}) from None

    return BeforeValidator(check)


def _holds_password(url: str) -> bool:
    try:
        parts = urlsplit(url)
        if parts.password is not None or ("@" in parts.netloc and ":" in parts.netloc.rpartition("@")[0]):
            return True
    except ValueError:
        return True
    return any("pass" in key.lower() or "secret" in key.lower() for key, _ in parse_qsl(parts.query))


def _web_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise PydanticCustomError("web_url", "must be an http(s) URL without user or password")
    return value.rstrip("/")


WebUrl = Annotated[str, AfterValidator(_web_url)]
HostPorts = Annotated[list[Annotated[str, AfterValidator(_host_port)]], BeforeValidator(_listed)]
Networks = Annotated[list[Annotated[str, AfterValidator(_network)]], BeforeValidator(_listed)]
Refs = Annotated[list[SecretRef], BeforeValidator(_listed)]
Names = Annotated[list[Annotated[str, Field(min_length=1, max_length=255)]], BeforeValidator(_listed)]
Port = Annotated[int, Field(ge=0, le=65535)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True)


class AppSettings(_Section):
    """`[app]`: who this app is and where its state lies."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")] = "app"
    profile: Literal["development", "production"] = "production"
    base_url: WebUrl = ""
    rp_id: Annotated[str, Field(max_length=253)] = ""
    state_dir: Annotated[str, Field(min_length=1)] = "var"


class DatabaseSettings(_Section):
    """`[database]`: the app's own store; a PostgreSQL address with a password is a reference.

    `url` is the owner's, who migrates and runs operators' commands; `app` and `worker` are those of the processes' own
    PostgreSQL roles, which are granted what these processes use and nothing else.
    """

    url: Annotated[str | SecretRef | None, _store_url("sqlite", "postgresql")] = None
    app: Annotated[str | SecretRef | None, _store_url("postgresql")] = None
    worker: Annotated[str | SecretRef | None, _store_url("postgresql")] = None


class CapSettings(_Section):
    """`[[charge.caps]]`: at most `amount` minor units and `count` operations in any `per_seconds`, for each `by`."""

    kind: Literal["payment", "refund"]
    by: Literal["user", "customer", "tenant"]
    per_seconds: Annotated[int, Field(ge=1, le=86_400 * 31)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] | None = None
    amount: Annotated[int, Field(ge=1)] | None = None
    count: Annotated[int, Field(ge=1)] | None = None


class ChargeSettings(_Section):
    """`[charge]`: the charge service, its store, its provider and whom it listens to.

    `database` is the address of its store's owner, `service` that of the process's own PostgreSQL role.
    """

    database: Annotated[str | SecretRef | None, _store_url("sqlite", "postgresql")] = None
    service: Annotated[str | SecretRef | None, _store_url("postgresql")] = None
    address: WebUrl = "https://127.0.0.1:8444"
    clients: Names = ["spiffe://redoubt/app", "spiffe://redoubt/worker"]
    tls_dir: str | None = None
    provider: Literal["stripe"] = "stripe"
    provider_url: WebUrl = "https://api.stripe.com"
    provider_key: SecretRef | None = None
    webhook_secrets: Refs = []
    honours_keys: bool = True
    currencies: Names = []
    per_payment: Annotated[int, Field(ge=1)] | None = None
    refunds_per_day: Annotated[int, Field(ge=1)] | None = None
    caps: list[CapSettings] = []
    keyring: str | None = None
    master: SecretRef | None = None


class MailSettings(_Section):
    """`[mail]`: the SMTP relay that login links go through."""

    host: str = "127.0.0.1"
    port: Port = 1025
    sender: Annotated[
        str, Field(alias="from", min_length=3, max_length=254, pattern=r"^[^\s<>]+@[^\s<>]+$")
    ] = "login@localhost"
    tls: Literal["none", "starttls", "implicit"] = "starttls"
    user: str | None = None
    password: SecretRef | None = None


class LimitRule(_Section):
    """One override of a rate limit: `amount` hits in any `per_seconds`."""

    amount: Annotated[int, Field(ge=1, le=10_000_000)]
    per_seconds: Annotated[int, Field(ge=1, le=86_400 * 31)]


class LimitsSettings(_Section):
    """`[limits]`: where hits are counted, and rules that differ from their defaults."""

    store: Annotated[str | SecretRef, _store_url("memory", "redis", "rediss")] = "memory://"
    rules: dict[str, LimitRule] = {}


class WebhookSettings(_Section):
    """`[webhooks.NAME]`: live secrets, newest first, and the partner's address of an outgoing one."""

    secrets: Refs = []
    url: WebUrl | None = None


class EgressSettings(_Section):
    """`[egress]`: the only hosts that may be called; `private` lists local ones, in development only."""

    allow: HostPorts = []
    private: HostPorts = []


class PdpSettings(_Section):
    """`[pdp]`: services that may ask the app's policies (AuthZEN), by name and token; nobody may where none is named.

    Those under `search` may list who may do what, those under `explain` learn the deciding policies.
    """

    callers: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")], SecretRef] = {}
    search: Names = []
    explain: Names = []


class AuditSettings(_Section):
    """`[audit]`: where signed checkpoints go, and how long entries stay."""

    checkpoint_dir: str | None = None
    retention_days: Annotated[int, Field(ge=365, le=36_500)] = 400


class KeysSettings(_Section):
    """`[keys]`: the master secret, and the keyring file that it opens."""

    master: SecretRef | None = None
    file: str | None = None


class ServerSettings(_Section):
    """`[server]`: addresses and bounds of the HTTP server; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: Port = 8443
    mailbox_port: Port = 8025
    provider_port: Port = 8026
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    max_body_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024
    trusted_proxies: Networks = []
    tls_cert: str | None = None
    tls_key: SecretRef | None = None


class Settings(_Section):
    """All settings of one app, frozen; made by `load`, which reports every mistake at once."""

    app: AppSettings = AppSettings()
    database: DatabaseSettings = DatabaseSettings()
    charge: ChargeSettings = ChargeSettings()
    mail: MailSettings = MailSettings()
    limits: LimitsSettings = LimitsSettings()
    webhooks: dict[str, WebhookSettings] = {}
    egress: EgressSettings = EgressSettings()
    audit: AuditSettings = AuditSettings()
    keys: KeysSettings = KeysSettings()
    server: ServerSettings = ServerSettings()
    pdp: PdpSettings = PdpSettings()

    _base: Path = PrivateAttr(default=Path())
    _env: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def load(cls, directory: Path, env: Mapping[str, str] | None = None) -> Settings:
        """Return the settings of the app in `directory`; raises SettingsError with every mistake in it.

        `env` stands in for the process environment, both for overrides and for later `env:` references.
        """
        env = os.environ if env is None else env
        file = directory / FILE_NAME
        try:
            data = tomllib.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SettingsError(
                [f"{file}: there is no such file; an app has its settings in {FILE_NAME}"]
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError([f"{file}: cannot be read ({type(error).__name__})"]) from None
        except tomllib.TOMLDecodeError as error:
            # Only the position: the decoder's message may quote what stands there.
            at = re.search(r"at line \d+, column \d+|at end of document", str(error))
            raise SettingsError([f"{file}: not TOML {at[0] if at else ''}".rstrip()]) from None
        origins = overlay(data, env)
        try:
            settings = cls.model_validate(data)
        except ValidationError as error:
            raise SettingsError(explain(cls, error, str(file), origins)) from None
        settings._base = directory
        settings._env = env
        return settings

    @property
    def base(self) -> Path:
        """Return the app's directory, which relative paths start from."""
        return self._base

    @property
    def development(self) -> bool:
        """Say whether this is a development profile."""
        return self.app.profile == "development"

    @property
    def state_dir(self) -> Path:
        """Return the folder of the app's state."""
        return self._base / self.app.state_dir

    @property
    def keyring_path(self) -> Path:
        """Return the app's keyring file."""
        return self._base / self.keys.file if self.keys.file else self.state_dir / "keys" / "keyring"

    @property
    def master_ref(self) -> SecretRef:
        """Return the reference of the secret that opens the app's keyring."""
        return self.keys.master or SecretRef("file", str(Path(self.app.state_dir) / "keys" / "master.key"))

    @property
    def checkpoint_dir(self) -> Path:
        """Return the folder that signed checkpoints are written to."""
        return self._base / (self.audit.checkpoint_dir or f"{self.app.state_dir}/checkpoints")

    def database_url(self, process: str = "") -> Secret:
        """Return the app database's address, SQLite paths made absolute: the owner's, or that of `process`'s own role.

        Where no role of its own is named for the process, it is the owner's.
        """
        own = {"app": self.database.app, "worker": self.database.worker}.get(process)
        return self._store(own or self.database.url, "app.db")

    def charge_database_url(self, process: str = "") -> Secret:
        """Return the charge database's address, SQLite paths made absolute: the owner's, or that of the service's role."""
        own = self.charge.service if process == "charge" else None
        return self._store(own or self.charge.database, "charge.db")

    def limits_store(self) -> Secret:
        """Return the address that rate limits are counted at."""
        store = self.limits.store
        return self.reveal(store) if isinstance(store, SecretRef) else Secret(store)

    def reveal(self, ref: SecretRef) -> Secret:
        """Return the secret behind `ref` now; raises SecretError."""
        return ref.resolve(self._base, self._env)

    def _store(self, url: str | SecretRef | None, default: str) -> Secret:
        if isinstance(url, SecretRef):
            return self.reveal(url)
        if url is None:
            return Secret(f"sqlite:///{self.state_dir.resolve() / default}")
        path = url.removeprefix("sqlite:///")
        return Secret(url if path == url else f"sqlite:///{(self._base / path).resolve()}")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bad := [name for name in [*self.webhooks, *self.limits.rules] if not _NAME.fullmatch(name)]:
            raise PydanticCustomError(
                "name", "names are lower-case: {bad}", {"bad": ", ".join(map(repr, bad))}
            )
        host = urlsplit(self.app.base_url).hostname or ""
        rp_id = self.app.rp_id
        if rp_id and host and host != rp_id and not host.endswith("." + rp_id):
            raise PydanticCustomError("rp_id", "app.rp_id must be the host of app.base_url or a parent of it")
        if self.app.profile == "production":
            self._whole_in_production()
        return self

    def _whole_in_production(self) -> None:
        if self.app.base_url and not self.app.base_url.startswith("https://"):
            raise PydanticCustomError("production", "app.base_url must be https in production")
        if self.egress.private:
            raise PydanticCustomError("production", "egress.private is for the development profile only")
        if self.mail.tls == "none" and (
            self.mail.password or self.mail.host not in ("127.0.0.1", "::1", "localhost")
        ):
            raise PydanticCustomError("production", "mail.tls must be starttls or implicit in production")
        if not self.charge.provider_url.startswith("https://"):
            raise PydanticCustomError("production", "charge.provider_url must be https in production")


def overlay(data: dict[str, Any], env: Mapping[str, str]) -> dict[str, str]:
    """Write every `REDOUBT_SECTION__KEY` of `env` into `data`; return dotted path to variable for error messages."""
    origins: dict[str, str] = {}
    for variable in sorted(env):
        if not variable.startswith(ENV_PREFIX) or "__" not in variable:
            continue
        path = variable.removeprefix(ENV_PREFIX).lower().split("__")
        here: Any = data
        for step in path[:-1]:
            here = here.setdefault(step, {})
            if not isinstance(here, dict):
                break
        else:
            here[path[-1]] = env[variable]
        origins[".".join(path)] = variable
    return origins
