"""The target file: what verify needs to know of an app that it cannot learn by itself. Every part is optional.

What is left out turns controls into *not shown* with the line that would help, never into a pass. Text may hold
`{dir}`, `{port}`, `{python}` and `{ready:NAME}` (a member of the ready file that the start command writes). Secrets are
references: `env:NAME` or `file:PATH`.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .errors import TargetInvalid

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class _Foreign(BaseModel):
    """Parts of Web Fuzzing Commons' own grammar: what we do not use of it is let through."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Start(_Part):
    """How a private copy with empty data is started.

    `ready` is a path that answers, or `{ready}` for a JSON file that the command writes. `secrets` are names of
    environment variables that get a fresh random value each run; `env:NAME` elsewhere in the file means that value.
    """

    command: list[str] = Field(min_length=1)
    ready: str = "/"
    env: dict[str, str] = {}
    secrets: list[str] = []
    pass_env: list[str] = []
    timeout: float = 90


class Token(_Foreign):
    """Where a login's token stands in its answer, and how it is sent back (WFC `token`)."""

    extractFrom: Literal["body", "header"] = "body"
    extractSelector: str
    sendIn: Literal["header", "query", "cookie"] = "header"
    sendName: str = "Authorization"
    sendTemplate: str = "Bearer {token}"


class UserPassword(_Foreign):
    """A login's user and password and the fields they go into (WFC `payloadUserPwd`)."""

    username: str = "{name}"
    password: str = "{password}"  # noqa: S105 - a placeholder
    usernameField: str = "username"
    passwordField: str = "password"


class LoginEndpoint(_Foreign):
    """A login call (WFC `loginEndpointAuth`)."""

    endpoint: str
    verb: str = "POST"
    payloadRaw: str | None = None
    payloadUserPwd: UserPassword | None = None
    headers: list[dict[str, str]] = []
    contentType: str = "application/json"
    token: Token | None = None
    expectCookies: bool = False


class AuthEntry(_Foreign):
    """One account that exists (WFC `auth[]`); `role` and `tenant` are ours and say which it has."""

    name: str
    role: str = ""
    tenant: str = ""
    fixedHeaders: list[dict[str, str]] = []
    loginEndpointAuth: LoginEndpoint | None = None


class Register(_Part):
    """How anybody joins with a password; `{name}`, `{email}` and `{password}` are filled in.

    Where the app issues the credential itself, `credential` says where it stands in the answer.
    """

    endpoint: str
    payloadRaw: str = '{"username": "{name}", "password": "{password}"}'
    contentType: str = "application/json"
    credential: str | None = None


class Passkeys(_Part):
    """WebAuthn ceremonies: each is the pair of its options call and its verify call."""

    register_: tuple[str, str] | None = Field(None, alias="register")
    login: tuple[str, str] | None = None
    step_up: tuple[str, str] | None = None
    enrol: tuple[str, str] | None = None
    mint: str | None = None
    links: str | list[str] = []
    another: tuple[str, str] | None = None


class Magic(_Part):
    """Magic links: the call that asks, the page of a link, the call that confirms."""

    ask: str
    link: str
    confirm: str


class Csrf(_Part):
    """Where a browser gets its CSRF token, and the header that carries it back."""

    endpoint: str
    member: str = "csrf"
    header: str = "X-CSRF-Token"


class WhoAmI(_Part):
    """A call that answers for a live session only, or whose `member` is then true; `roles` names the roles' member."""

    endpoint: str
    member: str | None = None
    roles: str | None = None
    id: str | None = None


class Effect(_Part):
    """Where the effect of something can be read: a list that holds its canary, seen by a role."""

    read: str
    role: str = Field("", alias="as")


class Webhook(_Part):
    """An endpoint that takes signed deliveries. `sample` is a body with `{canary}` and `{id}` in it."""

    path: str
    scheme: Literal["stripe", "github", "standard"]
    secret: str
    tolerance: int = 300
    dedupe_days: int | None = None
    sample: dict[str, Any] | None = None
    effect: Effect | None = None


class Approvals(_Part):
    """Two-person approval: the challenge call, the approving call, and who may."""

    options: str
    approve: str
    read: str | None = None
    role: str = Field(alias="as")


class Money(_Part):
    """Charging: which resource is paid by which call, where the payer goes, and where the outcome is read."""

    pay: str
    resource: str
    amount: str = "total"
    by: str = ""
    redirect: str = "redirect_url"
    payment_id: str = "payment_id"
    payment: str | None = None
    state: str = "state"
    paid: str = "succeeded"
    refund: str | None = None
    refund_by: str = ""
    approval_id: str = "approval_id"
    approvals: Approvals | None = None
    refund_cap: int | None = None
    page_form: dict[str, str] = {}


class Provider(_Part):
    """The payment provider's test double: its address and its control face."""

    url: str
    control: str = "/_sandbox"


class Charge(_Part):
    """The service that charges, where it is one of its own: its address, how the app calls it, its clients' authority."""

    url: str
    path: str = "/healthz"
    ca: str
    certificate: str
    key: str
    ca_key: str | None = None


class Access(_Part):
    """One line of the declared access table: these roles may do these operations, under these conditions."""

    roles: list[str] = Field(alias="as")
    do: list[str]
    own: bool = False
    states: list[str] = []
    step_up: bool = False
    risk_max: int | None = None
    amount_max: int | None = None


class Policies(_Part):
    """Policies that change at run time: their folder, who proposes and approves, and how soon a change counts.

    `shown` is where an approver reads a request, `rehearsal` where in its answer the dry run stands, and `review` the
    exit code with which the check asks for a second person.
    """

    folder: str = "policies"
    role: str = Field(alias="as")
    within: float = 5.0
    shown: str | None = None
    rehearsal: str = "dry_run"
    review: int = 3


class Prices(_Part):
    """Prices that change by proposal: what is priced, who asks (`as`), who is the second person, and where they read it.

    `reason` is the member of a change that says why, `approval_id` where its answer names the request, `shown` where
    that is read, and `rehearsal` where the dry run stands in it: `changes` of orders (`order`, `now`, `proposed`), the
    ids of those that stay `unchanged`, and `sum.difference`.
    """

    resource: str
    field: str = "price"
    reason: str | None = None
    role: str = Field(alias="as")
    second: str
    approval_id: str = "approval_id"
    shown: str
    rehearsal: str = "dry_run"


class Demotion(_Part):
    """How somebody loses the role `of`, and what only that role reads.

    By the command `demote`, which is given {user} and {role}, or by the call `take` of somebody with the role `as`;
    `give` is the call that gives the role first to who joined without it. In calls {id} and {name} are the person's.
    """

    of: str
    read: str
    take: str | None = None
    taken: dict[str, Any] = {}
    give: str | None = None
    given: dict[str, Any] = {}
    role: str = Field("", alias="as")
    within: float = 2.0


class Rights(_Part):
    """What each process may do in the database: by process, the file whose GRANT statements say it.

    The command `db_try` tries the statements of a file as one of these processes, or as the `owner` named here, and answers
    with JSON; `db_tables` lists, as a JSON object, the columns of every table of a process's database, which is asked where
    that is no SQLite file that `stores` names. `never` are statements that no process needs.
    """

    grants: dict[str, str]
    owner: str = "owner"
    owners: dict[str, str] = {}
    never: list[str] = []


class Replica(_Part):
    """How a second replica of the app is started over the same state; `{replica_port}` is where it has to listen."""

    command: list[str] = Field(min_length=1)
    env: dict[str, str] = {}


class Switches(_Part):
    """Kill switches: the call that kills, the call that asks to enable, and who may."""

    kill: str
    enable: str | None = None
    role: str = Field(alias="as")
    within: float = 1.0
    money: str = "payments"


class Target(_Part):
    """A whole target file."""

    name: str = ""
    kind: str | None = None
    target: str | None = None
    ca: str | None = None
    allow: list[str] = []
    repo: str | None = None
    openapi: str | None = None
    start: Start | None = None
    roles: dict[str, str] = {}
    register_: Register | None = Field(None, alias="register")
    login: LoginEndpoint | None = None
    logout: str | None = None
    auth: list[AuthEntry] = []
    passkeys: Passkeys | None = None
    magic: Magic | Literal["none"] | None = None
    csrf: Csrf | None = None
    whoami: WhoAmI | None = None
    mailbox: str | None = None
    public: list[str] = []
    access: list[Access] | None = None
    decisions: str | None = None
    pages: list[str] = []
    webhooks: list[Webhook] = []
    money: Money | None = None
    provider: Provider | None = None
    charge: Charge | None = None
    switches: Switches | None = None
    policies: Policies | None = None
    prices: Prices | None = None
    rights: Rights | None = None
    replica: Replica | None = None
    demotion: Demotion | None = None
    commands: dict[str, list[str]] = {}
    command_env: dict[str, str] = {}
    stores: dict[str, str] = {}
    outputs: list[str] = []
    secrets: str | None = None
    processes: str | None = None
    reset: list[str] = []

    @property
    def links(self) -> Magic | None:
        """Magic links, where the app has them and the file says how; `magic: none` says that it has none."""
        return None if self.magic == "none" else self.magic

    @field_validator("logout")
    @classmethod
    def _is_call(cls, value: str | None) -> str | None:
        if value is not None:
            call(value)
        return value

    @field_validator("auth", mode="before")
    @classmethod
    def _wfc_file(cls, value: Any) -> Any:
        return value["auth"] if isinstance(value, dict) and set(value) == {"auth"} else value


def call(text: str) -> tuple[str, str]:
    """Split `METHOD /path`; a bare path is a GET."""
    method, _, path = text.partition(" ")
    if path and method in _METHODS:
        return method, path.strip()
    return "GET", text


def load(path: Path) -> Target:
    """Return the target that the file spells; raises TargetInvalid with every fault in it."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TargetInvalid(
            f"{path} cannot be read ({error.strerror}).", hint="Name it with --target."
        ) from None
    except yaml.YAMLError as error:
        raise TargetInvalid(f"{path} is not YAML: {str(error).splitlines()[0]}.") from None
    return parse(data or {}, str(path))


def parse(data: Any, where: str = "the target") -> Target:
    """Return the target that `data` spells, over the preset of its `kind`; raises TargetInvalid with every fault."""
    if not isinstance(data, dict):
        raise TargetInvalid(f"{where} must hold a mapping.")
    kind = data.get("kind")
    if kind is not None:
        data = _over(preset(str(kind)), data)
    try:
        return Target.model_validate(data)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}"
            for one in error.errors(include_url=False)
        )
        raise TargetInvalid(f"{where}: {faults}.", hint="See docs/reference/target.md.") from None


def preset(kind: str) -> dict[str, Any]:
    """Return what apps of that kind have in common, as a target file would spell it."""
    folder = files(__package__).joinpath("presets")
    known = sorted(one.name.removesuffix(".yaml") for one in folder.iterdir() if one.name.endswith(".yaml"))
    if kind not in known:
        raise TargetInvalid(
            f"there is no kind {kind!r}.", hint=f"Known: {', '.join(known)}; or leave it out."
        )
    found: dict[str, Any] = yaml.safe_load(folder.joinpath(f"{kind}.yaml").read_text(encoding="utf-8"))
    return found


def _over(base: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Lay `data` over `base`: mappings merge, lists are added to, everything else is replaced; null takes away."""
    merged = dict(base)
    for key, value in data.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _over(merged[key], value)
        elif (
            isinstance(value, list)
            and isinstance(merged.get(key), list)
            and key in ("public", "pages", "outputs")
        ):
            merged[key] = [*merged[key], *value]
        else:
            merged[key] = value
    return merged
