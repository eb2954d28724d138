"""Hostile resolvers, lying sockets and small real servers for the egress tests."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from contextlib import asynccontextmanager

import httpcore
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

PUBLIC = "93.184.216.34"


class ScriptedResolver:
    """Answers from a script: one list of addresses for each question, the last one again and again."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def resolve(self, host, port):
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class NoResolver:
    async def resolve(self, host, port):
        raise AssertionError(f"{host} must not be resolved")


class RecordingConnector:
    """Connects to a local port whatever address is asked for, claims `peer`, and remembers what was asked."""

    def __init__(self, port=None, peer=None, dead=()):
        self.port, self.peer, self.dead, self.asked = port, peer, set(dead), []
        self._tcp = httpcore.AnyIOBackend()

    async def connect(self, address, port, timeout):
        self.asked.append((address, port))
        if self.port is None or address in self.dead:
            raise httpcore.ConnectError("refused")
        stream = await self._tcp.connect_tcp("127.0.0.1", self.port, timeout=timeout)
        return LyingStream(stream, (address, port) if self.peer is None else self.peer)


class LyingStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream, peer):
        self._stream, self._peer, self.closed = stream, peer, False

    def get_extra_info(self, info):
        return self if info == "socket" else self._stream.get_extra_info(info)

    def getpeername(self):
        if self._peer == "broken":
            raise OSError("not connected")
        return self._peer

    async def read(self, max_bytes, timeout=None):
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer, timeout=None):
        await self._stream.write(buffer, timeout)

    async def aclose(self):
        self.closed = True
        await self._stream.aclose()

    async def start_tls(self, ssl_context, server_hostname=None, timeout=None):
        return await self._stream.start_tls(ssl_context, server_hostname, timeout)


class Observer:
    def __init__(self, fail=False):
        self.seen, self.fail = [], fail

    async def decided(self, decision):
        self.seen.append(decision)
        if self.fail:
            raise RuntimeError("no audit")


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"


@asynccontextmanager
async def server(answer=OK, *, context=None):
    """Serve `answer` (bytes, or a coroutine function of reader, writer, head) on a free loopback port; yields (port, heads)."""
    heads: list[bytes] = []
    writers = set()

    async def handle(reader, writer):
        writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                heads.append(head)
                if callable(answer):
                    await answer(reader, writer, head)
                else:
                    writer.write(answer)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield listening.sockets[0].getsockname()[1], heads
    finally:
        listening.close()
        for writer in writers:
            writer.close()


class Authority:
    """A throw-away certificate authority that writes PEM files into a folder."""

    def __init__(self, folder, name="ca"):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.cert = self._sign(self.name, self.key, [(x509.BasicConstraints(ca=True, path_length=0), True)])
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.cert.public_bytes(Encoding.PEM))

    def issue(self, *names, label="leaf"):
        """Return (certificate file, key file) for DNS names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = []
        for name in names:
            try:
                alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                alternatives.append(x509.DNSName(name))
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, label)])
        cert = self._sign(subject, key, [(x509.SubjectAlternativeName(alternatives), False)])
        cert_file, key_file = self.folder / f"{label}.pem", self.folder / f"{label}.key"
        cert_file.write_bytes(cert.public_bytes(Encoding.PEM))
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return cert_file, key_file

    def _sign(self, subject, key, extensions):
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, hashes.SHA256())


def server_context(cert, key, *, client_ca=None, names=None):
    """Return a server TLS context; `names` collects the SNI that clients send."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    if names is not None:
        context.sni_callback = lambda sock, name, ctx: names.append(name)
    return context
