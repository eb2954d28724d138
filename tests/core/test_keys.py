"""Keys: sealed values stay bound, rotation never breaks old work, the file yields nothing."""

import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redoubt.core.clock import ManualClock
from redoubt.core.ids import SeededIds
from redoubt.core.keys import (
    Keyring,
    KeyringError,
    KeyringLocked,
    KeyringMissing,
    SealBroken,
    okp_thumbprint,
    verify_ed25519,
    write_master,
)
from redoubt.core.secrets import Secret, SecretRef

MASTER = Secret("m" * 43)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "keyring"


@pytest.fixture
def ring(path):
    return Keyring.create(path, MASTER)


def test_a_sealed_value_opens_only_under_its_own_purpose_and_data(ring):
    blob = ring.seal("inbox", b"payload", b"endpoint|id")
    assert ring.open_sealed("inbox", blob, b"endpoint|id") == b"payload"
    for purpose, aad in [("inbox", b"endpoint|other"), ("outbox", b"endpoint|id"), ("inbox", b"")]:
        with pytest.raises(SealBroken):
            ring.open_sealed(purpose, blob, aad)


def test_every_changed_byte_and_every_truncation_of_a_sealed_value_is_refused(ring):
    blob = ring.seal("inbox", b"x", b"a")
    for i in range(len(blob)):
        with pytest.raises(SealBroken):
            ring.open_sealed("inbox", blob[:i] + bytes([blob[i] ^ 1]) + blob[i + 1 :], b"a")
        with pytest.raises(SealBroken):
            ring.open_sealed("inbox", blob[:i], b"a")


def test_sealing_twice_never_gives_the_same_bytes(ring):
    assert len({ring.seal("p", b"same") for _ in range(200)}) == 200


@settings(max_examples=50)
@given(plain=st.binary(max_size=300), aad=st.binary(max_size=50))
def test_what_is_sealed_comes_back_whole(tmp_path_factory, plain, aad):
    ring = Keyring.create(tmp_path_factory.mktemp("k") / "ring", MASTER)
    assert ring.open_sealed("p", ring.seal("p", plain, aad), aad) == plain


def test_rotation_changes_new_work_and_keeps_old_work_readable(ring):
    mac, blob = ring.mac("session"), ring.seal("session", b"old")
    tag, signer = mac.digest("token"), ring.signer("session")
    signature = signer.sign(b"data")
    assert ring.rotate("session") == 2
    assert mac.digest("token") != tag
    assert mac.verify("token", tag)
    assert mac.digests("token") == [mac.digest("token"), tag]
    assert ring.open_sealed("session", blob) == b"old"
    assert ring.signer("session").key_id != signer.key_id
    keys = ring.verification_keys("session")
    assert list(keys) == [ring.signer("session").key_id, signer.key_id]
    assert verify_ed25519(keys[signer.key_id], signature, b"data")


def test_rotating_one_purpose_leaves_the_others(ring):
    tag = ring.mac("csrf").digest("x")
    ring.rotate("session")
    assert ring.mac("csrf").digest("x") == tag


def test_a_retired_generation_is_gone_and_the_newest_cannot_be_retired(ring):
    tag, blob = ring.mac("p").digest("x"), ring.seal("p", b"old")
    with pytest.raises(KeyringError):
        ring.retire("p", 1)
    ring.rotate("p")
    with pytest.raises(KeyringError):
        ring.retire("p", 2)
    ring.retire("p", 1)
    assert not ring.mac("p").verify("x", tag)
    with pytest.raises(SealBroken):
        ring.open_sealed("p", blob)
    ring.rotate("p")
    ring.retire("p", 2)
    assert [number for number, _ in ring.generations("mac", "p")] == [3]


def test_purposes_and_kinds_have_unrelated_keys(ring):
    keys = {ring.current(kind, purpose)[1] for kind in ("mac", "seal", "sign") for purpose in ("a", "b")}
    assert len(keys) == 6


def test_mac_is_hmac_sha256_under_the_purpose_key(ring):
    key = ring.current("mac", "p")[1]
    assert ring.mac("p").digest("é") == hmac.new(key, "é".encode(), hashlib.sha256).digest()
    assert not ring.mac("p").verify("é", b"")


def test_the_same_file_gives_the_same_keys_and_another_master_none(ring, path):
    again = Keyring.open(path, MASTER)
    assert again.mac("p").digest("x") == ring.mac("p").digest("x")
    assert again.signer("s").public_key == ring.signer("s").public_key
    with pytest.raises(KeyringLocked):
        Keyring.open(path, Secret("n" * 43))


def test_a_changed_file_does_not_open(ring, path):
    data = path.read_bytes()
    for i in range(0, len(data), 7):
        path.write_bytes(data[:i] + bytes([data[i] ^ 0x80]) + data[i + 1 :])
        with pytest.raises(KeyringLocked):
            Keyring.open(path, MASTER)
    path.write_bytes(b"")
    with pytest.raises(KeyringLocked):
        Keyring.open(path, MASTER)


def test_the_file_is_private_and_holds_no_key_in_the_clear(ring, path):
    assert path.stat().st_mode & 0o777 == 0o600
    data = path.read_bytes()
    for kind in ("mac", "seal", "sign"):
        assert ring.current(kind, "p")[1] not in data
    assert b"root" not in data
    assert MASTER.reveal_bytes() not in data
    path.chmod(0o640)
    with pytest.raises(KeyringLocked):
        Keyring.open(path, MASTER)


def test_a_missing_keyring_a_second_create_and_a_short_master_are_refused(ring, path, tmp_path):
    with pytest.raises(KeyringMissing):
        Keyring.open(tmp_path / "none", MASTER)
    before = path.read_bytes()
    with pytest.raises(KeyringError):
        Keyring.create(path, MASTER)
    assert path.read_bytes() == before
    with pytest.raises(KeyringLocked):
        Keyring.create(tmp_path / "short", Secret("short"))
    assert not list(tmp_path.glob("**/*.tmp"))


def test_another_process_sees_a_rotation_after_refresh_or_when_it_meets_a_new_generation(ring, path):
    other = Keyring.open(path, MASTER)
    ring.rotate("p")
    blob = ring.seal("p", b"new")
    assert other.open_sealed("p", blob) == b"new"
    ring.rotate("p")
    assert other.refresh()
    assert not other.refresh()
    assert other.mac("p").digest("x") == ring.mac("p").digest("x")


def test_concurrent_rotations_lose_none(ring, path):
    rings = [Keyring.open(path, MASTER) for _ in range(6)]
    threads = [threading.Thread(target=r.rotate, args=("p",)) for r in rings for _ in range(3)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    ring.refresh()
    assert [number for number, _ in ring.generations("mac", "p")] == list(range(1, 20))


def test_a_process_killed_while_rotating_leaves_a_keyring_that_opens(ring, path):
    code = (
        "import sys; from pathlib import Path; from redoubt.core.keys import Keyring; "
        "from redoubt.core.secrets import Secret; r = Keyring.open(Path(sys.argv[1]), Secret('m' * 43)); "
        "print('up', flush=True)\nwhile True: r.rotate('p')"
    )
    tag = ring.mac("p").digest("x")
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"up\n"
        os.set_blocking(child.stdout.fileno(), False)
        child.kill()
        child.wait()
        child.stdout.close()
        assert Keyring.open(path, MASTER).mac("p").verify("x", tag)


def test_key_ids_are_rfc_7638_thumbprints():
    raw = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert okp_thumbprint(raw) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"  # RFC 8037, appendix A.3


def test_a_signature_is_refused_for_other_data_other_key_and_malformed_input(ring):
    signer = ring.signer("s")
    signature = signer.sign(b"data")
    assert signer.algorithm == "EdDSA"
    assert verify_ed25519(signer.public_key, signature, b"data")
    assert not verify_ed25519(signer.public_key, signature, b"datb")
    assert not verify_ed25519(ring.signer("t").public_key, signature, b"data")
    assert not verify_ed25519(b"short", signature, b"data")
    assert not verify_ed25519(signer.public_key, signature[:-1], b"data")


def test_bad_purposes_are_refused(ring):
    for purpose in ("", "a\0b", "x" * 129, "é"):
        with pytest.raises(KeyringError):
            ring.mac(purpose)


def test_write_master_makes_a_private_file_once_that_a_reference_can_read(tmp_path):
    write_master(tmp_path / "keys" / "master.key", SeededIds(ManualClock(), 1))
    file = tmp_path / "keys" / "master.key"
    assert file.stat().st_mode & 0o777 == 0o600
    secret = SecretRef.parse("file:keys/master.key").resolve(tmp_path)
    assert len(secret) == 43
    with pytest.raises(FileExistsError):
        write_master(file)
    assert SecretRef.parse("file:keys/master.key").resolve(tmp_path) == secret


def test_nothing_that_prints_shows_a_key(ring, path):
    shown = (
        repr(ring)
        + str(ring)
        + repr(ring.mac("p"))
        + repr(ring.signer("p"))
        + json.dumps({"path": str(path)})
    )
    assert ring.current("mac", "p")[1].hex() not in shown
    assert "mmmm" not in shown


def test_a_seal_is_known_in_hexadecimal_and_under_a_key_that_another_process_made(path, ring):
    other = Keyring.open(path, MASTER)
    seal = ring.mac("p").hexdigest("said")
    assert other.mac("p").seals("said", seal)
    assert not other.mac("p").seals("other", seal)
    assert not other.mac("q").seals("said", seal)
    for odd in ("", "zz", "é", seal[:-2], seal[:-1], seal + "00"):
        assert not other.mac("p").seals("said", odd)
    ring.rotate("p")
    newer = ring.mac("p").hexdigest("said")
    assert newer != seal
    assert other.mac("p").seals("said", newer)
    assert other.mac("p").seals("said", seal)
