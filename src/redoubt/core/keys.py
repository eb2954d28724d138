"""The keys of one installation: MACs, sealing and signatures by purpose, in one encrypted file.

A purpose's first generation is derived from the keyring's root, so that two processes never race to make it;
`rotate` adds random generations. New work uses the newest, old work is still verified and opened until `retire`.

KeyringError (RedoubtError)
├── KeyringMissing    no keyring file
├── KeyringLocked     wrong master secret, or the file was changed
└── SealBroken        a sealed value is not ours, was moved, or was changed
"""

from __future__ import annotations

import base64
import fcntl
import hmac
import json
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Protocol

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .clock import SystemClock
from .errors import RedoubtError
from .files import write_private
from .ids import Ids, SystemIds
from .secrets import Secret

_MAGIC = b"RDKR\x01"
_SALT, _NONCE, _GENERATION = 16, 12, 2
_SEAL_VERSION = b"\x01"
_MIN_MASTER = 32


class KeyringError(RedoubtError):
    """The keyring could not do what was asked."""

    code: ClassVar[str] = "keyring"


class KeyringMissing(KeyringError):
    """There is no keyring at that path."""

    code = "keyring-missing"


class KeyringLocked(KeyringError):
    """The keyring does not open: another master secret, or a changed file."""

    code = "keyring-locked"


class SealBroken(KeyringError):
    """A sealed value does not open under this purpose and associated data."""

    code = "seal-broken"


class Signer(Protocol):
    """Signs with a key that it need not hold: a local file, a PKCS#11 token or a cloud KMS behind one face."""

    @property
    def algorithm(self) -> str:
        """Return the JOSE name of the signature algorithm, such as `EdDSA`."""
        ...

    @property
    def key_id(self) -> str:
        """Return the RFC 7638 thumbprint of the public key."""
        ...

    @property
    def public_key(self) -> bytes:
        """Return the raw public key."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Return the signature over `data`."""
        ...


class Ed25519Signer:
    """Ed25519 (RFC 8032) with the private key in this process."""

    algorithm = "EdDSA"

    def __init__(self, seed: bytes) -> None:
        self.__key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self.__key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key_id = okp_thumbprint(self.public_key)

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte signature over `data`."""
        return self.__key.sign(data)


def verify_ed25519(public_key: bytes, signature: bytes, data: bytes) -> bool:
    """Say whether `signature` over `data` is by `public_key` (RFC 8032); malformed keys and signatures are not."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def okp_thumbprint(public_key: bytes) -> str:
    """Return the JWK thumbprint of a raw Ed25519 public key (RFC 7638; RFC 8037, appendix A.3)."""
    members = {"crv": "Ed25519", "kty": "OKP", "x": _b64(public_key)}
    return _b64(sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest())


class MacKey:
    """HMAC-SHA256 for one purpose over all of its live generations."""

    def __init__(self, ring: Keyring, purpose: str) -> None:
        self._ring = ring
        self._purpose = purpose

    def digest(self, data: bytes | str) -> bytes:
        """Return the tag of `data` under the newest generation."""
        return self._ring.tag(self._ring.current("mac", self._purpose)[1], data)

    def hexdigest(self, data: bytes | str) -> str:
        """Return `digest` in hexadecimal."""
        return self.digest(data).hex()

    def digests(self, data: bytes | str) -> list[bytes]:
        """Return the tag under every live generation, newest first: look-ups of stored tags use them all."""
        return [
            self._ring.tag(key, data) for _, key in reversed(self._ring.generations("mac", self._purpose))
        ]

    def verify(self, data: bytes | str, tag: bytes) -> bool:
        """Say, in constant time for each generation, whether `tag` belongs to `data`."""
        found = False
        for candidate in self.digests(data):
            found |= hmac.compare_digest(candidate, tag)
        return found

    def seals(self, data: bytes | str, seal: str) -> bool:
        """Say whether `seal`, in hexadecimal as `hexdigest` gives it, belongs to `data`; text of another form does not.

        A seal that does not fit may be under a key that another process made meanwhile: then the keys are read again.
        """
        try:
            tag = bytes.fromhex(seal)
        except ValueError:
            return False
        return self.verify(data, tag) or (self._ring.refresh() and self.verify(data, tag))


class Keyring:
    """All keys of one installation; open it once a process and keep it.

    The file is AES-256-GCM under a key that HKDF-SHA256 (RFC 5869) derives from the master secret and the file's
    own salt. `refresh` takes up what another process rotated.
    """

    def __init__(
        self, path: Path, master: Secret, ids: Ids, state: dict[str, Any], stamp: tuple[int, int]
    ) -> None:
        self._path = path
        self._master = master
        self._ids = ids
        self._lock = threading.Lock()
        self._load(state, stamp)

    @classmethod
    def create(cls, path: Path, master: Secret, ids: Ids | None = None) -> Keyring:
        """Make a new keyring file with mode 0600 and open it; an existing file raises KeyringError and stays."""
        ids = ids or SystemIds(SystemClock())
        state = {"version": 1, "root": _b64(ids.random_bytes(32)), "added": {}, "retired": {}}
        try:
            write_private(path, _encrypt(state, master, ids), replace=False)
        except FileExistsError:
            raise KeyringError(
                f"There is a keyring at {path} already.", hint="Open it, or move it away."
            ) from None
        return cls(path, master, ids, state, _stamp(path))

    @classmethod
    def open(cls, path: Path, master: Secret, ids: Ids | None = None) -> Keyring:
        """Open an existing keyring; raises KeyringMissing or KeyringLocked."""
        stamp = _stamp(path)  # before reading: a change in between is then seen by the next refresh
        return cls(path, master, ids or SystemIds(SystemClock()), _read(path, master), stamp)

    def mac(self, purpose: str) -> MacKey:
        """Return the MAC key object for `purpose`; it follows rotations."""
        return MacKey(self, _checked(purpose))

    def signer(self, purpose: str) -> Signer:
        """Return the newest signer for `purpose`."""
        number, seed = self.current("sign", _checked(purpose))
        signers = self._signers
        if (purpose, number) not in signers:
            signers[purpose, number] = Ed25519Signer(seed)
        return signers[purpose, number]

    def verification_keys(self, purpose: str) -> dict[str, bytes]:
        """Return raw public keys of all live generations of `purpose` by key id, newest first."""
        signers = [Ed25519Signer(seed) for _, seed in reversed(self.generations("sign", _checked(purpose)))]
        return {signer.key_id: signer.public_key for signer in signers}

    def seal(self, purpose: str, plaintext: bytes, aad: bytes = b"") -> bytes:
        """Return `plaintext` encrypted and bound to `purpose` and `aad`: version, generation, salt, nonce, AES-256-GCM.

        Each value has a key of its own, derived from a random salt, so a busy purpose never meets the 2^32 messages
        that random nonces allow under one key (NIST SP 800-38D, section 8.3).
        """
        number, key = self.current("seal", _checked(purpose))
        header = _SEAL_VERSION + number.to_bytes(_GENERATION, "big") + self._ids.random_bytes(_SALT)
        nonce = self._ids.random_bytes(_NONCE)
        return (
            header
            + nonce
            + AESGCM(self.tag(key, header)).encrypt(nonce, plaintext, _seal_aad(purpose, header, aad))
        )

    def open_sealed(self, purpose: str, blob: bytes, aad: bytes = b"") -> bytes:
        """Return what `seal` was given; raises SealBroken for another purpose, other `aad` or a changed byte."""
        _checked(purpose)
        size = 1 + _GENERATION + _SALT
        header, nonce, sealed = blob[:size], blob[size : size + _NONCE], blob[size + _NONCE :]
        broken = SealBroken(
            "A sealed value does not open.", hint="It was changed, moved, or its key was retired."
        )
        if len(sealed) < 16 or header[:1] != _SEAL_VERSION:
            raise broken
        number = int.from_bytes(header[1 : 1 + _GENERATION], "big")
        keys = dict(self.generations("seal", purpose))
        if number not in keys:
            self.refresh()
            keys = dict(self.generations("seal", purpose))
        if number not in keys:
            raise broken
        try:
            return AESGCM(self.tag(keys[number], header)).decrypt(
                nonce, sealed, _seal_aad(purpose, header, aad)
            )
        except InvalidTag:
            raise broken from None

    def rotate(self, purpose: str) -> int:
        """Add a random generation for `purpose`, make it the newest, and return its number."""
        with self._changing() as state:
            added = state["added"].setdefault(_checked(purpose), {})
            number = max([1, *map(int, added)]) + 1
            if number >= 1 << (8 * _GENERATION):
                raise KeyringError(f"{purpose} has used all its generations.")
            added[str(number)] = _b64(self._ids.random_bytes(32))
        return number

    def retire(self, purpose: str, generation: int) -> None:
        """Forget a generation of `purpose` for good; the newest cannot be retired."""
        with self._changing() as state:
            added = state["added"].get(_checked(purpose), {})
            if generation >= max([1, *map(int, added)]):
                raise KeyringError("The newest generation cannot be retired.", hint="Rotate first.")
            added.pop(str(generation), None)
            if generation == 1:
                state["retired"][purpose] = True

    def refresh(self) -> bool:
        """Read the file again if another process changed it; say whether it did."""
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return False
        with self._lock:
            self._load(_read(self._path, self._master), stamp)
        return True

    def current(self, kind: str, purpose: str) -> tuple[int, bytes]:
        """Return number and key of the newest generation: for the key objects of this module."""
        return self.generations(kind, purpose)[-1]

    def generations(self, kind: str, purpose: str) -> Sequence[tuple[int, bytes]]:
        """Return numbers and keys of the live generations, oldest first: for the key objects of this module."""
        cache = self._cache  # one reference: a refresh replaces the whole dict
        found = cache.get((kind, purpose))
        if found is None:
            seeds = {
                int(number): _unb64(seed) for number, seed in self._state["added"].get(purpose, {}).items()
            }
            if purpose not in self._state["retired"]:
                seeds[1] = _unb64(self._state["root"])
            found = cache[kind, purpose] = [
                (number, _derive(seeds[number], f"redoubt-{kind}-v1\0{purpose}\0{number}"))
                for number in sorted(seeds)
            ]
        return found

    def tag(self, key: bytes, data: bytes | str) -> bytes:
        """Return the HMAC-SHA256 of `data`: for the key objects of this module.

        From a prepared state, not by `hmac.digest`: that one gives up the interpreter's lock each time, and a busy
        server then waits for it several times a request.
        """
        prepared = self._prepared
        state = prepared.get(key)
        if state is None:
            state = prepared[key] = hmac.new(key, digestmod="sha256")
        mac = state.copy()
        mac.update(data.encode() if isinstance(data, str) else data)
        return mac.digest()

    def __repr__(self) -> str:
        return f"Keyring({str(self._path)!r})"

    def _load(self, state: dict[str, Any], stamp: tuple[int, int]) -> None:
        self._stamp = stamp
        self._state = state
        self._cache: dict[tuple[str, str], list[tuple[int, bytes]]] = {}
        self._prepared: dict[bytes, hmac.HMAC] = {}
        self._signers: dict[tuple[str, int], Ed25519Signer] = {}

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        lock = self._path.with_name(self._path.name + ".lock")
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            with self._lock:
                state = _read(self._path, self._master)
                yield state
                write_private(self._path, _encrypt(state, self._master, self._ids))
                self._load(state, _stamp(self._path))
        finally:
            os.close(handle)


def write_master(path: Path, ids: Ids | None = None) -> None:
    """Make a master secret file with mode 0600: 32 random bytes as text; an existing one raises FileExistsError."""
    ids = ids or SystemIds(SystemClock())
    write_private(path, ids.token(32).encode() + b"\n", replace=False)


def _encrypt(state: dict[str, Any], master: Secret, ids: Ids) -> bytes:
    salt, nonce = ids.random_bytes(_SALT), ids.random_bytes(_NONCE)
    key = _file_key(master, salt)
    return _MAGIC + salt + nonce + AESGCM(key).encrypt(nonce, json.dumps(state).encode(), _MAGIC + salt)


def _read(path: Path, master: Secret) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(1 << 20)
    except FileNotFoundError:
        raise KeyringMissing(f"There is no keyring at {path}.", hint="Initialise the app first.") from None
    if mode & 0o077:
        raise KeyringLocked(
            f"The keyring at {path} is open to other users.", hint="chmod 600 it, then rotate its keys."
        )
    head = len(_MAGIC) + _SALT
    salt, nonce, body = data[len(_MAGIC) : head], data[head : head + _NONCE], data[head + _NONCE :]
    try:
        if not data.startswith(_MAGIC) or len(nonce) != _NONCE:
            raise InvalidTag
        state: dict[str, Any] = json.loads(
            AESGCM(_file_key(master, salt)).decrypt(nonce, body, _MAGIC + salt)
        )
    except InvalidTag:
        raise KeyringLocked(
            f"The keyring at {path} does not open.",
            hint="Is it this installation's master secret? Was the file changed?",
        ) from None
    return state


def _file_key(master: Secret, salt: bytes) -> bytes:
    if len(master) < _MIN_MASTER:
        raise KeyringLocked(
            f"The master secret is shorter than {_MIN_MASTER} bytes.", hint="Make one with write_master."
        )
    return HKDF(SHA256(), 32, salt, b"redoubt-keyring-v1").derive(master.reveal_bytes())


def _derive(seed: bytes, info: str) -> bytes:
    return HKDF(SHA256(), 32, None, info.encode()).derive(seed)


def _seal_aad(purpose: str, header: bytes, aad: bytes) -> bytes:
    return b"redoubt-seal-v1\0" + purpose.encode() + b"\0" + header + aad


def _checked(purpose: str) -> str:
    if not purpose or len(purpose) > 128 or not purpose.isascii() or not purpose.isprintable():
        raise KeyringError("A purpose is 1 to 128 printable ASCII characters.")
    return purpose


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (status.st_ino, status.st_mtime_ns)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
