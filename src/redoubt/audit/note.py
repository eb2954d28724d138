"""Signed notes and checkpoints as the C2SP specifications `signed-note` and `tlog-checkpoint` define them.

origin
size
base64(root)

— origin base64(4 bytes of key hash || Ed25519 signature)
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from hashlib import sha256

from attrs import frozen

from ..core.keys import Signer, verify_ed25519
from .errors import NoteInvalid
from .merkle import HASH_SIZE

_ED25519 = b"\x01"
_NAME = re.compile(r"[^\s+]{1,100}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/=]+)")
MAX_NOTE = 64 * 1024


@frozen
class VerifierKey:
    """A name and an Ed25519 public key; as text `name+hash+base64(0x01 || key)`."""

    name: str
    public_key: bytes

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Parse the text form; raises NoteInvalid."""
        parts = text.strip().split("+", 2)
        try:
            name, key_hash, encoded = parts
            data = base64.b64decode(encoded, validate=True)
        except (ValueError, binascii.Error):
            raise NoteInvalid("a verifier key reads name+hash+key.") from None
        key = cls(name, data[1:])
        if data[:1] != _ED25519 or len(data) != 33 or key.hash.hex() != key_hash or not _NAME.fullmatch(name):
            raise NoteInvalid("the verifier key is not an Ed25519 key of that hash.")
        return key

    @property
    def hash(self) -> bytes:
        """The four bytes that name this key in a signature line."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public_key).digest()[:4]

    def __str__(self) -> str:
        encoded = base64.b64encode(_ED25519 + self.public_key).decode()
        return f"{self.name}+{self.hash.hex()}+{encoded}"


@frozen
class Checkpoint:
    """A signed statement: at this size, the log of this origin has this root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The signed part of the note, with its final newline."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def sign(checkpoint: Checkpoint, signer: Signer) -> str:
    """Return the signed note of `checkpoint`; the key's name is the origin."""
    if not _NAME.fullmatch(checkpoint.origin):
        raise NoteInvalid("an origin is a name without spaces and plus signs.")
    key = VerifierKey(checkpoint.origin, signer.public_key)
    signature = base64.b64encode(key.hash + signer.sign(checkpoint.text.encode())).decode()
    return f"{checkpoint.text}\n— {checkpoint.origin} {signature}\n"


def open_note(note: str, keys: Iterable[VerifierKey]) -> Checkpoint:
    """Return the checkpoint in `note` when one of `keys` signed it and no known key's signature is wrong.

    Raises NoteInvalid otherwise. Signatures of unknown keys (witnesses) are passed over, as the specification asks.
    """
    if len(note) > MAX_NOTE or any(ord(char) < 0x20 and char != "\n" for char in note):
        raise NoteInvalid("a note is text of at most 64 KiB without control characters.")
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise NoteInvalid("a note has a text, an empty line and signature lines.")
    text += "\n"
    known = {(key.name, key.hash): key for key in keys}
    trusted = False
    for line in signatures[:-1].split("\n"):
        match = _SIGNATURE.fullmatch(line)
        if match is None:
            raise NoteInvalid("a signature line is malformed.")
        try:
            data = base64.b64decode(match[2], validate=True)
        except binascii.Error:
            raise NoteInvalid("a signature is not base64.") from None
        key = known.get((match[1], data[:4]))
        if key is None:
            continue
        if not verify_ed25519(key.public_key, data[4:], text.encode()):
            raise NoteInvalid("a signature of a trusted key does not hold.")
        trusted = True
    if not trusted:
        raise NoteInvalid("no trusted key signed this note.", hint="Is this the log's own public key?")
    return _checkpoint(text)


def _checkpoint(text: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) < 4 or not lines[0] or not _SIZE.fullmatch(lines[1]):
        raise NoteInvalid("a checkpoint has origin, size and root.")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except binascii.Error:
        raise NoteInvalid("the root of a checkpoint is base64.") from None
    if len(root) != HASH_SIZE or base64.b64encode(root).decode() != lines[2]:
        raise NoteInvalid("the root of a checkpoint is 32 bytes in canonical base64.")
    return Checkpoint(lines[0], int(lines[1]), root)
