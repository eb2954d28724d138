"""The whole spec, as typed values."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import AppName, EntityName, Part, RuleName, Title, Word
from .fields import AnyField
from .parts import Deployment, Limit, Login, Payments, Permission, Retention, Webhooks


class App(Part):
    """What the app is called."""

    name: AppName
    title: Title
    """Shown on every page."""


class Role(Part):
    """A group of people with the same permissions."""

    title: Title | None = None
    sign_up: bool = False
    """People who register themselves get this role; at most one role has it."""


class Transition(Part):
    """An action that moves a row from one state to another."""

    title: Title | None = None
    from_: list[Word] = Field(alias="from", min_length=1, max_length=20)
    to: Word


class Entity(Part):
    """A kind of row: its table, API, pages and checks are made from this."""

    title: Title | None = None
    plural: Word | None = None
    """Name in addresses and of the table; made from the name when absent."""
    owned: bool = True
    """Rows belong to the person who creates them."""
    label: Word | None = None
    """The field that names a row on pages; the first text field when absent."""
    fields: dict[Word, AnyField] = Field(min_length=1, max_length=80)
    actions: dict[Word, Transition] = Field(default={}, max_length=40)
    """Moves of the state field, each with its own permission."""
    post_filter: bool = False
    """Where a policy cannot be said in SQL, lists fetch rows and decide about each one; without it they are refused."""


class Page(Part):
    """A page of your own: app/pages/NAME.html, served at /NAME."""

    title: Title
    public: bool = False
    roles: list[Word] = Field(default=[], max_length=20)
    """Who sees it when it is not public."""


class Pages(Part):
    """Which entities have pages, and which pages are yours."""

    home: EntityName | None = None
    """The entity whose list is shown at /."""
    entities: list[EntityName] = Field(default=[], max_length=80)
    """Entities with pages, in the order of the navigation. Others have the JSON API only."""
    own: dict[Word, Page] = Field(default={}, max_length=80)


class Spec(Part):
    """A Redoubt app."""

    redoubt: Literal[1]
    """Version of this language."""
    app: App
    roles: dict[Word, Role] = Field(min_length=1, max_length=20)
    login: Login = Login()
    entities: dict[EntityName, Entity] = Field(default={}, max_length=80)
    permissions: list[Permission] = Field(default=[], max_length=500)
    pages: Pages = Pages()
    webhooks: Webhooks = Webhooks()
    payments: Payments | None = None
    limits: dict[RuleName, Limit] = Field(default={}, max_length=40)
    """Overrides of the runtime's limits, by rule."""
    retention: Retention = Retention()
    deployment: Deployment = Deployment()
