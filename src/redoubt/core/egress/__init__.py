"""Outgoing calls: an allow-list, public addresses only, and the connection goes to the address that was checked."""

from .client import Decision, Egress, EgressObserver, EgressResponse
from .errors import (
    EgressBroken,
    EgressError,
    EgressRefused,
    EgressTimeout,
    EgressTooLarge,
    EgressUnreachable,
    EgressUnsupported,
)
from .network import Connector, EgressTls, Resolver, SystemConnector, SystemResolver
from .policy import EgressPolicy, Target, parse_target

__all__ = [
    "Connector",
    "Decision",
    "Egress",
    "EgressBroken",
    "EgressError",
    "EgressObserver",
    "EgressPolicy",
    "EgressRefused",
    "EgressResponse",
    "EgressTimeout",
    "EgressTls",
    "EgressTooLarge",
    "EgressUnreachable",
    "EgressUnsupported",
    "Resolver",
    "SystemConnector",
    "SystemResolver",
    "Target",
    "parse_target",
]
