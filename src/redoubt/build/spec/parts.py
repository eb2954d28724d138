"""Webhooks, payments, limits, retention and deployment: the sections around the entities."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import ActionName, Currency, EntityName, HostPort, Minor, Part, SecretReference, Title, Word

Pin = Annotated[str, Field(pattern=r"^sha256/[A-Za-z0-9+/]{43}=$")]
JsonPath = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,9}$")]
Event = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}\.[a-z][a-z0-9_]{0,39}$")]


class Record(Part):
    """Store a row of an entity from the payload."""

    kind: Literal["record"]
    entity: EntityName
    fields: dict[Word, JsonPath] = Field(min_length=1, max_length=40)
    """Field of the entity → dotted path in the payload. A payload without a required one is accepted and left alone."""


class Forward(Part):
    """Send the payload on through an outgoing webhook."""

    kind: Literal["forward"]
    to: Word
    """Name of the outgoing webhook."""


class PaymentEvents(Part):
    """Hand the event to payments: it settles the intent it names."""

    kind: Literal["payments"]


class Custom(Part):
    """Call the function of that name in app/handlers.py, which is yours."""

    kind: Literal["custom"]
    function: Word


Handler = Annotated[Record | Forward | PaymentEvents | Custom, Field(discriminator="kind")]


class IncomingWebhook(Part):
    """A webhook that others send to /webhooks/NAME."""

    scheme: Literal["standard", "stripe", "github", "slack", "shopify", "ed25519", "rfc9421"]
    """How its signature is made."""
    secrets: list[SecretReference] = Field(min_length=1, max_length=4)
    """References to the live secrets; all of them verify, so that one can be rotated out."""
    tolerance: int = Field(default=300, ge=10, le=900)
    """Seconds a signature's time may be off, both ways. Schemes without a signed time ignore it."""
    dedupe_days: int = Field(default=7, ge=1, le=400)
    """Days for which a message id is remembered; longer than the tolerance by far."""
    handler: Handler
    """What happens with an accepted message."""


class OutgoingWebhook(Part):
    """A webhook that this app sends, signed by Standard Webhooks."""

    title: Title | None = None
    url: Annotated[str, Field(pattern=r"^https://[^\s@\"'\\\\]{4,300}$")]
    """The receiver's address, written into redoubt.toml; REDOUBT_WEBHOOKS__NAME__URL overrides it."""
    secrets: list[SecretReference] = Field(min_length=1, max_length=2)
    """References to the signing secrets, newest first; all of them sign during a rotation."""
    hosts: list[HostPort] = Field(min_length=1, max_length=20)
    """Hosts the address may have; everything else is refused by the egress client."""
    events: list[Event] = Field(min_length=1, max_length=50)
    """`order.paid`: an entity's declared state or action; `webhook.NAME`: what a forward handler passes on."""
    pins: list[Pin] = []
    """SPKI pins of the receiver. Not enforced in this version, and refused."""


class Webhooks(Part):
    """Webhooks in and out."""

    incoming: dict[Word, IncomingWebhook] = Field(default={}, max_length=40)
    outgoing: dict[Word, OutgoingWebhook] = Field(default={}, max_length=40)


class Charge(Part):
    """Which rows are paid for."""

    entity: EntityName
    amount: Word
    """The money field that is charged."""
    payable_in: Word
    """The state in which a row can be paid."""
    paid: Word
    """The state that a settled payment moves it to."""


class Caps(Part):
    """Most that moves, in minor units; checked under concurrency."""

    per_payment: Minor
    """Largest single payment."""
    refunds_per_day: Minor
    """Most refunded in a day, over all payments of one currency."""


class Refunds(Part):
    """Refunds are change requests: another person approves the exact payload with a passkey."""

    approval: Literal["two_person", "none"] = "two_person"
    """`none` is refused: a refund always waits for a second person."""


class Payments(Part):
    """Payments through a provider; the card is entered on the provider's origin."""

    provider: Literal["stripe", "adyen", "braintree", "mollie"]
    currencies: list[Currency] = Field(min_length=1, max_length=20)
    key: SecretReference
    """Reference to the provider's key; only the charge service reads it."""
    charge: Charge
    caps: Caps
    refunds: Refunds = Refunds()
    post_filter: bool = False
    """Where a policy cannot be said in SQL, the list of payments decides about each one; without it it is refused."""


class Login(Part):
    """How people prove who they are."""

    methods: list[Literal["passkey", "magic_link", "password", "sms", "totp", "oidc"]] = Field(
        default=["passkey", "magic_link"], min_length=1
    )
    """Passwords are refused for good; sms, totp and oidc are not enforced in this version, and refused."""


class Limit(Part):
    """At most `amount` in `per_seconds`, in a sliding window."""

    amount: int = Field(ge=1, le=100_000)
    per_seconds: int = Field(ge=1, le=86_400)


class Retention(Part):
    """How long things are kept."""

    audit_days: int = Field(default=365, ge=365, le=3650)
    """Days audit entries are kept; never fewer than 365."""
    webhook_payload_days: int = Field(default=90, ge=1, le=3650)
    """Days for which the raw payloads of webhooks are kept, encrypted; never shorter than a dedupe window."""


class Terraform(Part):
    """Cloud infrastructure. Not emitted in this version, and refused."""

    cloud: Literal["aws", "gcp", "azure"]


class Deployment(Part):
    """Where the app runs."""

    kind: Literal["container", "kubernetes", "serverless"] = "container"
    """`container`: a Dockerfile is emitted. The others are not emitted in this version, and refused."""
    database: Literal["sqlite", "postgresql"] = "sqlite"
    """Which database `redoubt.toml` names."""
    terraform: Terraform | None = None
    replicas: int = Field(default=1, ge=1, le=100)
    """More than one needs shared limits and is refused in this version."""


class Permission(Part):
    """Who may do what, and under which conditions. All conditions of one entry must hold; any entry suffices."""

    roles: list[Word] = Field(min_length=1, max_length=20)
    actions: list[ActionName] = Field(min_length=1, max_length=60)
    owner: bool = False
    """Only on rows that the caller owns."""
    tenant: bool = False
    """Only on rows of the caller's tenant."""
    risk_max: int | None = Field(default=None, ge=0, le=100)
    """Only up to this risk score."""
    step_up: bool = False
    """Only with a passkey assertion of the last five minutes."""
    amount_max: Minor | None = None
    """Only up to this amount, in minor units."""
    states: list[Word] = Field(default=[], max_length=20)
    """Only while the row is in one of these states."""
