"""Signed notes: what a trusted key signed, and nothing else."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from redoubt.audit.errors import NoteInvalid
from redoubt.audit.note import Checkpoint, VerifierKey, open_note, sign
from redoubt.core.keys import Ed25519Signer

SIGNER = Ed25519Signer(b"\x01" * 32)
KEY = VerifierKey("shop", SIGNER.public_key)
CHECKPOINT = Checkpoint("shop", 20852163, bytes(range(32)))
NOTE = sign(CHECKPOINT, SIGNER)


def test_a_checkpoint_has_the_form_that_the_specification_gives() -> None:
    lines = NOTE.split("\n")
    assert lines[:4] == ["shop", "20852163", base64.b64encode(bytes(range(32))).decode(), ""]
    assert lines[4].startswith("— shop ")
    signature = base64.b64decode(lines[4].split(" ")[2])
    public = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32).public_key()
    public.verify(signature[4:], "\n".join(lines[:3]).encode() + b"\n")  # raises when it does not hold
    assert signature[:4] == KEY.hash


def test_a_key_reads_back_from_its_text() -> None:
    assert VerifierKey.parse(str(KEY)) == KEY
    # The key of the specification's own example.
    known = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert str(VerifierKey.parse(known)) == known


@pytest.mark.parametrize(
    "text", ["", "a+b", "shop+00000000+AAAA", str(KEY).replace("shop", "shopp"), str(KEY)[:-4] + "AAA="]
)
def test_a_broken_key_is_refused(text: str) -> None:
    with pytest.raises(NoteInvalid):
        VerifierKey.parse(text)


def test_a_note_opens_with_its_key_and_an_unknown_witness_does_not_disturb() -> None:
    assert open_note(NOTE, [KEY]) == CHECKPOINT
    witness = base64.b64encode(b"wxyz" + bytes(64)).decode()
    assert open_note(f"{NOTE}— witness {witness}\n", [KEY]) == CHECKPOINT


OTHER = Ed25519Signer(b"\x02" * 32)


@pytest.mark.parametrize(
    "note",
    [
        NOTE.replace("20852163", "20852164"),
        NOTE.replace("shop\n", "shap\n", 1),
        NOTE.replace("AAEC", "AAED"),
        sign(CHECKPOINT, OTHER),
        NOTE[:-1],
        NOTE.replace("\n\n", "\n"),
        CHECKPOINT.text + "\n",
        NOTE.replace("— shop ", "- shop "),
        NOTE + "\n",
        NOTE.replace("\n", "\r\n"),
        "",
        sign(Checkpoint("shop", 1, b"short"), SIGNER),
        NOTE.replace("20852163", "020852163"),
    ],
)
def test_a_changed_note_does_not_open(note: str) -> None:
    with pytest.raises(NoteInvalid):
        open_note(note, [KEY])


def test_a_wrong_signature_beside_a_right_one_is_refused() -> None:
    bad = base64.b64encode(KEY.hash + bytes(64)).decode()
    with pytest.raises(NoteInvalid):
        open_note(f"{NOTE}— shop {bad}\n", [KEY])


def test_every_single_bit_of_the_signed_text_counts() -> None:
    end = NOTE.index("\n\n")
    for at in range(end):
        changed = NOTE[:at] + chr(ord(NOTE[at]) ^ 1) + NOTE[at + 1 :]
        with pytest.raises(NoteInvalid):
            open_note(changed, [KEY])
