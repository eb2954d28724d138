"""A local certificate authority: TLS for `NAME.localhost` and mutual TLS between the app and the charge service.

Made for one app on one machine; its key never leaves the state folder. In production the certificates come from
the deployment and this module is not used for the public face.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from redoubt.core.clock import Clock

_CA_LIFE = timedelta(days=825)
_LEAF_LIFE = timedelta(days=30)
_RENEW_BEFORE = timedelta(days=10)


@frozen
class Certificate:
    """Where a certificate and its key lie, in PEM."""

    certificate: Path
    key: Path


@frozen
class LocalCa:
    """An authority in a folder."""

    folder: Path
    clock: Clock

    @property
    def certificate(self) -> Path:
        """The authority's own certificate, for clients to trust."""
        return self.folder / "ca.pem"

    def ensure(self) -> Path:
        """Make the authority when it is missing; return its certificate's path."""
        key_path = self.folder / "ca.key"
        if self.certificate.exists() and key_path.exists():
            return self.certificate
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Redoubt local development CA")])
        now = self.clock.now()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + _CA_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write(key_path, _key_pem(key))
        _write(self.certificate, certificate.public_bytes(serialization.Encoding.PEM))
        return self.certificate

    def issue(
        self, name: str, hosts: Sequence[str], *, client: bool = False, now: datetime | None = None
    ) -> Certificate:
        """Return a certificate for `hosts`, made anew when it is missing or has fewer than ten days left.

        `client` marks it for TLS clients instead of servers; its first host is then the service's identity, a
        URI such as `spiffe://redoubt/app`.
        """
        self.ensure()
        paths = Certificate(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        moment = now or self.clock.now()
        if paths.certificate.exists() and paths.key.exists():
            present = x509.load_pem_x509_certificate(paths.certificate.read_bytes())
            if present.not_valid_after_utc - moment > _RENEW_BEFORE:
                return paths
        authority = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        signing_key = serialization.load_pem_private_key((self.folder / "ca.key").read_bytes(), None)
        if not isinstance(signing_key, ec.EllipticCurvePrivateKey):
            raise TypeError("the local authority's key is not an EC key")
        key = ec.generate_private_key(ec.SECP256R1())
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])]))
            .issuer_name(authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment - timedelta(minutes=5))
            .not_valid_after(moment + _LEAF_LIFE)
            .add_extension(
                x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False
            )
            .sign(signing_key, hashes.SHA256())
        )
        _write(paths.key, _key_pem(key))
        _write(paths.certificate, certificate.public_bytes(serialization.Encoding.PEM))
        return paths


def _general_name(host: str) -> x509.GeneralName:
    if "://" in host:
        return x509.UniformResourceIdentifier(host)
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes) -> None:
    """Write for the owner only, whole or not at all."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
