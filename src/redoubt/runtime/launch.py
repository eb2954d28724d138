"""`redoubt run`: prepares an app's state and starts its processes on loopback names with TLS."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from redoubt.core.clock import SystemClock
from redoubt.core.errors import RedoubtError
from redoubt.core.files import write_private
from redoubt.core.forkserver import ForkServer
from redoubt.core.secrets import SecretRef
from redoubt.core.settings import Settings

from .localca import LocalCa
from .own_roles import development_roles, hidden_from, without
from .state import (
    DEV_SECRETS,
    development_secrets,
    ensure_charge_keyring,
    ensure_keyring,
    make_state_folder,
    references_in,
)
from .supervisor import Service, StartError, Supervisor, python

Progress = Callable[[str], None]
_ONCE_SECONDS = 120.0
_CHARGE = "redoubt.payments.charge.__main__"
_FORKED = (
    "redoubt.runtime.serve", "redoubt.runtime.worker", "redoubt.runtime.initialise", "redoubt.runtime.mailbox",
    "redoubt.payments.sandbox.__main__", _CHARGE,
    "fastapi", "starlette.staticfiles", "alembic.command", "alembic.config",  # what an app and its migrations import
)  # fmt: skip


class RunError(RedoubtError):
    """The app cannot be run as asked."""

    code = "run"


@frozen
class RunOptions:
    """What `redoubt run` was asked for; port None means the settings' own, 0 a free one."""

    directory: Path
    state: Path | None = None
    port: int | None = None
    ephemeral: bool = False
    environment: Mapping[str, str] = field(factory=lambda: dict(os.environ))


@frozen
class Addresses:
    """Where each process of a running app is reached."""

    base_url: str
    ca_file: str
    mailbox_url: str | None
    provider_url: str | None
    charge_url: str | None


class Running:
    """A running app: its addresses, its operator links and its processes."""

    def __init__(
        self, settings: Settings, addresses: Addresses, links: list[str], supervisor: Supervisor
    ) -> None:
        self.settings = settings
        self.addresses = addresses
        self.operator_links = links
        self.supervisor = supervisor
        self._ready_file: Path | None = None

    def keep_ready(self, path: Path) -> None:
        """Write the ready file anew whenever a process was started again, so that its process ids stay true."""
        self._ready_file = path

    def on_restart(self) -> None:
        """Called by the supervisor's watch after a restart."""
        if self._ready_file is not None:
            self.write_ready(self._ready_file)

    def describe(self) -> dict[str, Any]:
        """Return what a program needs to reach this app: the content of the ready file."""
        return {
            "base_url": self.addresses.base_url,
            "ca_file": self.addresses.ca_file,
            "mailbox_url": self.addresses.mailbox_url,
            "provider_url": self.addresses.provider_url,
            "charge_url": self.addresses.charge_url,
            "operator_links": self.operator_links,
            "state_dir": str(self.settings.state_dir.resolve()),
            "secrets_file": str((self.settings.state_dir / DEV_SECRETS).resolve()),
            "processes": self.supervisor.pids,
        }

    def write_ready(self, path: Path) -> None:
        """Write `describe` to `path`, for the owner only."""
        write_private(path, json.dumps(self.describe(), indent=1).encode())


@contextlib.contextmanager
def running(options: RunOptions, progress: Progress) -> Iterator[Running]:
    """Start the app in `options.directory`, yield it, and stop every process at the end.

    Raises RunError, StartError, SettingsError or what else stands in the way, each with what to do.
    """
    directory = options.directory.resolve()
    if not (directory / "redoubt.toml").exists():
        raise RunError(
            f"{options.directory} holds no app: there is no redoubt.toml.",
            hint="Build one: redoubt build SPEC OUT",
        )
    scratch = Path(tempfile.mkdtemp(prefix="redoubt-")) if options.ephemeral else None
    supervisor: Supervisor | None = None
    forks: ForkServer | None = None
    try:
        environment = dict(options.environment)
        state = scratch or options.state
        if state is not None:
            environment["REDOUBT_APP__STATE_DIR"] = str(state.resolve())
        settings = Settings.load(directory, environment)
        if settings.development:
            forks = ForkServer.start(_FORKED, environment)  # it imports while the rest is prepared
        make_state_folder(settings)
        environment |= _addresses_for(settings, environment, options)
        environment |= development_secrets(settings, environment)
        settings = Settings.load(directory, environment)
        environment |= development_roles(settings, charges=has_payments(settings))
        settings = Settings.load(directory, environment)
        progress("Preparing keys and certificates")
        ensure_keyring(settings)
        if has_payments(settings):
            ensure_charge_keyring(settings)
        certificates = _certificates(settings)
        supervisor = Supervisor(settings.state_dir / "log", _base_environment(settings, environment), forks)
        progress("Preparing the databases")
        around = _around(settings, environment)
        supervisor.spawn(*around)  # they know nothing of the databases, so they start meanwhile
        links = _initialise(directory, environment, forks)
        if settings.charge.service is not None:
            _prepare_charge(directory, settings, environment, forks)
        supervisor.await_ready(*around)
        progress("Starting the processes")
        supervisor.start(*_own(supervisor, directory, settings, environment, certificates))
        addresses = _addresses(settings, certificates)
        yield Running(settings, addresses, links, supervisor)
    finally:
        if supervisor is not None:
            supervisor.stop()
        if forks is not None:
            forks.close()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def has_payments(settings: Settings) -> bool:
    """Say whether this app charges money, and so has a charge service."""
    return settings.charge.provider_key is not None


def _addresses_for(settings: Settings, environment: Mapping[str, str], options: RunOptions) -> dict[str, str]:
    """Choose ports and names for a development run; a production run keeps what its settings say."""
    if not settings.development:
        return {}
    free = options.ephemeral or options.port == 0
    chosen: dict[str, str] = {}

    def port(declared: int) -> int:
        return free_port() if free or declared == 0 else declared

    app_port = port(settings.server.port if options.port is None else options.port)
    mailbox_port, provider_port = port(settings.server.mailbox_port), port(settings.server.provider_port)
    smtp_port = port(settings.mail.port)
    declared_charge = urlsplit(settings.charge.address).port or 8444
    charge_port = port(declared_charge)
    provider = f"stripe.localhost:{provider_port}"
    charge = f"charge.localhost:{charge_port}"
    chosen["REDOUBT_SERVER__PORT"] = str(app_port)
    chosen["REDOUBT_SERVER__MAILBOX_PORT"] = str(mailbox_port)
    chosen["REDOUBT_SERVER__PROVIDER_PORT"] = str(provider_port)
    chosen["REDOUBT_APP__BASE_URL"] = f"https://{settings.app.name}.localhost:{app_port}"
    chosen["REDOUBT_MAIL__HOST"] = "127.0.0.1"
    chosen["REDOUBT_MAIL__PORT"] = str(smtp_port)
    chosen["REDOUBT_MAIL__TLS"] = "none"
    private = [*settings.egress.private]
    if has_payments(settings):
        chosen["REDOUBT_CHARGE__ADDRESS"] = f"https://{charge}"
        chosen["REDOUBT_CHARGE__PROVIDER_URL"] = f"http://{provider}"
        private += [charge, provider]
    chosen["REDOUBT_EGRESS__PRIVATE"] = ",".join(private)
    # Hosts that the environment gives stand beside ours; everything else it gives wins over what is chosen here.
    given = environment.keys() - {"REDOUBT_EGRESS__PRIVATE"}
    return {name: value for name, value in chosen.items() if name not in given}


def free_port() -> int:
    """Return a port of the loopback address that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _certificates(settings: Settings) -> Mapping[str, Path]:
    ca = LocalCa(settings.state_dir / "tls", SystemClock())
    host = urlsplit(settings.app.base_url).hostname or "localhost"
    issued = {"ca": ca.ensure()}
    if settings.server.tls_cert is None:
        issued["app"] = ca.issue("app", [host]).certificate
    if has_payments(settings):
        charge_host = urlsplit(settings.charge.address).hostname or "localhost"
        ca.issue("charge", [charge_host])
        for identity in settings.charge.clients:
            ca.issue(f"client-{identity.rsplit('/', 1)[-1]}", [identity], client=True)
    return issued


def _initialise(directory: Path, environment: Mapping[str, str], forks: ForkServer | None) -> list[str]:
    """Migrate and, the first time, record policy version 0 and mint the operator links; return those that are unused."""
    said = _once(directory, environment, "the app", forks, "redoubt.runtime.initialise")
    links: list[str] = json.loads(said)["operator_links"]
    return links


def _prepare_charge(
    directory: Path, settings: Settings, environment: Mapping[str, str], forks: ForkServer | None
) -> None:
    """Migrate the charge database as its owner, and grant the service's role: the service itself can do neither."""
    own = _charge_environment(settings, environment, own_role=False)
    _once(directory, own, "the charge service", forks, _CHARGE, "--init")


def _once(
    directory: Path, environment: Mapping[str, str], what: str, forks: ForkServer | None, *command: str
) -> str:
    argv = [*command, "--dir", str(directory)]
    try:
        result = None if forks is None else forks.run(command[0], argv, directory, environment, _ONCE_SECONDS)
    except OSError:
        result = None  # the server is gone, and nothing was run
    if result is None:
        result = subprocess.run(
            python(*argv),
            env=dict(environment),
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=_ONCE_SECONDS,
            check=False,
        )
    if result.returncode != 0:
        raise StartError(f"{what} could not be initialised.", hint=result.stderr.strip()[-2000:])
    return result.stdout


def _base_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what app and worker inherit: everything but the secrets that only the charge service may hold."""
    return without(environment, {ref.locator for ref in charge_only(settings) if ref.scheme == "env"})


def charge_only(settings: Settings) -> list[SecretRef]:
    """Return what only the charge service may hold: the provider's key and its own master secret.

    The provider's webhook secret is known to both: the app checks a delivery before it takes it in, the charge
    service checks it again.
    """
    return [ref for ref in (settings.charge.provider_key, settings.charge.master) if ref is not None]


def _charge_environment(
    settings: Settings, environment: Mapping[str, str], *, own_role: bool = True
) -> dict[str, str]:
    """Return what the charge service inherits: everything but the secrets of the app, and of its database's owner.

    Without `own_role`: what prepares its database inherits, as the owner.
    """
    own = {ref.locator for ref in references_in(settings.charge) if ref.scheme == "env"}
    hidden = {ref.locator for ref in references_in(settings) if ref.scheme == "env"} - own
    hidden |= hidden_from(settings, "charge") if own_role else set()
    return without(environment, hidden)


def _around(settings: Settings, environment: Mapping[str, str]) -> list[Service]:
    """Return what a development run has around the app: a mailbox, and the provider's sandbox where money is charged."""
    if not settings.development:
        return []
    state = settings.state_dir.resolve()
    smtp, http = settings.mail.port, settings.server.mailbox_port
    command = python("redoubt.runtime.mailbox", "--smtp-port", str(smtp), "--http-port", str(http))
    around = [Service("mailbox", [*command, "--store", str(state / "mailbox.db")], _listens(smtp, http))]
    if has_payments(settings):
        around.append(_sandbox(settings, environment, state))
    return around


def _own(
    supervisor: Supervisor,
    directory: Path,
    settings: Settings,
    environment: Mapping[str, str],
    certificates: Mapping[str, Path],
) -> list[Service]:
    """Return the app's own processes; each bears with the others' being late, so they start side by side."""
    run = settings.state_dir.resolve() / "run"
    run.mkdir(exist_ok=True, mode=0o700)
    marker = run / "worker.ready"
    marker.unlink(missing_ok=True)
    ends = ["--dir", str(directory)]
    own = []
    if has_payments(settings):
        own.append(
            Service(
                "charge",
                python(_CHARGE, *ends),
                _listens(urlsplit(settings.charge.address).port or 443),
                environment=_only(_charge_environment(settings, environment), supervisor),
                cwd=directory,
            )
        )
    worker, serve = python("redoubt.runtime.worker", *ends), python("redoubt.runtime.serve", *ends)
    return [
        *own,
        Service(
            "worker",
            worker,
            marker.exists,
            environment={"REDOUBT_PROCESS": "worker", **dict.fromkeys(hidden_from(settings, "worker"), "")},
            cwd=directory,
        ),
        Service(
            "app",
            serve,
            _answers(settings, certificates["ca"]),
            environment=dict.fromkeys(hidden_from(settings, "app"), ""),
            cwd=directory,
        ),
    ]


def _addresses(settings: Settings, certificates: Mapping[str, Path]) -> Addresses:
    paid = has_payments(settings)
    return Addresses(
        base_url=settings.app.base_url,
        ca_file=str(certificates["ca"].resolve()),
        mailbox_url=f"http://mail.localhost:{settings.server.mailbox_port}" if settings.development else None,
        provider_url=settings.charge.provider_url if paid and settings.development else None,
        charge_url=settings.charge.address if paid else None,
    )


def _only(environment: Mapping[str, str], supervisor: Supervisor) -> dict[str, str]:
    """Return `environment` so that nothing of the supervisor's own survives the merge."""
    return {**dict.fromkeys(supervisor.environment, ""), **environment}


def _sandbox(settings: Settings, environment: Mapping[str, str], state: Path) -> Service:
    key, secrets = settings.charge.provider_key, settings.charge.webhook_secrets
    port = urlsplit(settings.charge.provider_url).port or 0
    command = python(
        "redoubt.payments.sandbox.__main__", "--port", str(port), "--state", str(state / "sandbox.db")
    )
    command += ["--api-key-ref", str(key), "--webhook-url", f"{settings.app.base_url}/webhooks/stripe"]
    if secrets:
        command += ["--webhook-secret-ref", str(secrets[0])]
    command += ["--webhook-ca", str(state / "tls" / "ca.pem")]
    return Service("provider", command, _listens(port), environment=dict(environment), cwd=settings.base)


def _listens(*ports: int) -> Callable[[], bool]:
    def ready() -> bool:
        for port in ports:
            try:
                socket.create_connection(("127.0.0.1", port), 0.5).close()
            except OSError:
                return False
        return True

    return ready


def _answers(settings: Settings, ca: Path) -> Callable[[], bool]:
    host, port = urlsplit(settings.app.base_url).hostname or "localhost", settings.server.port

    def ready() -> bool:
        context = (
            ssl.create_default_context(cafile=str(ca))
            if settings.server.tls_cert is None
            else ssl.create_default_context()
        )
        try:
            with (
                socket.create_connection(("127.0.0.1", port), 1.0) as plain,
                context.wrap_socket(plain, server_hostname=host) as secure,
            ):
                secure.sendall(
                    f"GET /healthz HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()
                )
                return secure.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    return ready
