"""Signature schemes as data, one verifier that reads them all, and the signer for what we send."""

from .catalogue import GITHUB, SCHEMES, STANDARD, STRIPE
from .keys import SigningKey
from .model import Body, BodyMember, Field, Header, Scheme
from .parse import RawHeaders
from .signer import sign
from .verifier import Verified, verify

__all__ = [
    "GITHUB",
    "SCHEMES",
    "STANDARD",
    "STRIPE",
    "Body",
    "BodyMember",
    "Field",
    "Header",
    "RawHeaders",
    "Scheme",
    "SigningKey",
    "Verified",
    "sign",
    "verify",
]
