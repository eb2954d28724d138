"""Mutual TLS between services: who gets in with no certificate, another authority's, an expired one, a wrong name."""

from __future__ import annotations

import socket
import ssl
import tempfile
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from redoubt.core.clock import SystemClock

from ..errors import Unshown
from ..lab import Lab
from ..probe import probe
from ..target import Charge
from .till import money_of


@frozen
class Made:
    """A certificate and its key in files."""

    certificate: Path
    key: Path


@probe("PAY-4")
def only_listed_identities_reach_the_charge_service(lab: Lab) -> None:
    """Call the charge service as it is called, then with every wrong certificate."""
    money_of(lab)
    charge = lab.target.charge
    if charge is None:
        raise Unshown(
            "where charging happens is not said",
            add="charge: {url: …, ca: …, certificate: …, key: …, ca_key: …}",
        )
    with (
        lab.attack(
            "call the charge service with wrong certificates", "an answer other than a refusal"
        ) as attack,
        tempfile.TemporaryDirectory(prefix="redoubt-tls-") as place,
    ):
        folder = Path(place)
        right = Made(Path(charge.certificate), Path(charge.key))
        attack.positive("the app's own certificate is let in", _status(charge, right) in (200, 404, 405))
        attack.check(_status(charge, None) == 0, "no certificate at all is let in")
        name = _uri(right.certificate)
        other_ca = _authority(folder, "other")
        attack.check(
            _status(charge, _issue(folder, "foreign", other_ca, name)) == 0,
            "another authority's certificate is let in",
        )
        selfmade = _issue(folder, "self", None, name)
        attack.check(_status(charge, selfmade) == 0, "a self-signed certificate is let in")
        if charge.ca_key is None or not Path(charge.ca_key).exists():
            raise Unshown(
                "expired and misnamed certificates need the authority's key",
                add="charge: {ca_key: tls/ca.key}",
            )
        ca = Made(Path(charge.ca), Path(charge.ca_key))
        fine = _issue(folder, "fine", ca, name)
        attack.positive(
            "a certificate of the right authority and name is let in",
            _status(charge, fine) in (200, 404, 405),
        )
        expired = _issue(folder, "expired", ca, name, days=-1)
        attack.check(_status(charge, expired) in (0, 401, 403), "an expired certificate is let in")
        for wrong in ("spiffe://redoubt/stranger", f"{name}.evil", "spiffe://elsewhere/app"):
            status = _status(charge, _issue(folder, "wrong", ca, wrong))
            attack.check(
                status in (0, 401, 403), f"the right authority's certificate for {wrong} is let in ({status})"
            )


def _status(charge: Charge, made: Made | None) -> int:
    """Return the status that a call gets; 0 where TLS refuses it."""
    parts = urlsplit(charge.url)
    host, port = parts.hostname or "localhost", parts.port or 443
    context = ssl.create_default_context(cafile=charge.ca)
    if made is not None:
        context.load_cert_chain(made.certificate, made.key)
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            secure.sendall(
                f"GET {charge.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode()
            )
            words = secure.recv(64).split()
            return int(words[1]) if len(words) > 1 else 0
    except (OSError, ValueError):
        return 0


def _uri(certificate: Path) -> str:
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = [str(one) for one in names.get_values_for_type(x509.UniformResourceIdentifier)]
    return found[0] if found else "spiffe://unknown"


def _authority(folder: Path, name: str) -> Made:
    return _issue(folder, name, None, None)


def _issue(folder: Path, name: str, ca: Made | None, uri: str | None, days: int = 1) -> Made:
    """Write a certificate: for a client called `uri`, or for an authority; signed by `ca`, or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signer = subject, key
    if ca is not None:
        issuer = x509.load_pem_x509_certificate(ca.certificate.read_bytes()).subject
        loaded = serialization.load_pem_private_key(ca.key.read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise Unshown("the authority's key is of a kind that this probe does not use")
        signer = loaded
    now = SystemClock().now()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=3))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=uri is None, path_length=None), critical=True)
    )
    if uri is not None:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False
        )
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
    certificate = builder.sign(signer, hashes.SHA256())
    made = Made(folder / f"{name}.pem", folder / f"{name}.key")
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return made
