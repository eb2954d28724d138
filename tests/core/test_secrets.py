"""Secrets: only references are accepted, and a secret never prints itself."""

import copy
import json
import logging
import pickle

import pytest

from redoubt.core.secrets import (
    Secret,
    SecretExposed,
    SecretLiteral,
    SecretMissing,
    SecretRef,
    SecretUnavailable,
)

LITERALS = [
    "sk_live_51HxAbCdEf",
    "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "hunter2",
    "",
    "env:",
    "env:sk_live_51HxAbCdEf",
    "env:lower",
    "env:A B",
    "file:",
    "file: ",
    "file:a\0b",
    "awssm:",
    "vault:a b",
    "https://user:hunter2@host",
    "ENV:NAME",
    " env:NAME",
    "plain:value",
]


@pytest.mark.parametrize("literal", LITERALS)
def test_a_literal_is_refused_and_not_repeated(literal):
    with pytest.raises(SecretLiteral) as error:
        SecretRef.parse(literal)
    shown = f"{error.value!r} {error.value}"
    assert not [part for part in ("hunter2", "51HxAbCdEf", "C2FVsBQ", "A B", "a b") if part in shown]


def test_an_environment_reference_is_looked_up_when_it_is_used(tmp_path):
    ref = SecretRef.parse("env:STRIPE_KEY")
    assert ref.resolve(tmp_path, {"STRIPE_KEY": "sk_one"}).reveal() == "sk_one"
    assert ref.resolve(tmp_path, {"STRIPE_KEY": "sk_two"}).reveal() == "sk_two"
    for env in ({}, {"STRIPE_KEY": ""}):
        with pytest.raises(SecretMissing):
            ref.resolve(tmp_path, env)


def test_a_file_reference_drops_one_line_end_and_keeps_the_rest(tmp_path):
    file = tmp_path / "key"
    file.touch(mode=0o600)
    for written, revealed in [
        (b"abc\n", b"abc"),
        (b"abc\r\n", b"abc"),
        (b" a\nb\n\n", b" a\nb\n"),
        (b"\xff\0", b"\xff\0"),
    ]:
        file.write_bytes(written)
        assert SecretRef.parse("file:key").resolve(tmp_path).reveal_bytes() == revealed


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o660])
def test_a_file_of_the_app_that_others_may_touch_is_refused(tmp_path, mode):
    file = tmp_path / "key"
    file.write_text("abc")
    file.chmod(mode)
    with pytest.raises(SecretExposed):
        SecretRef.parse("file:key").resolve(tmp_path)


def test_a_mounted_file_may_be_readable_but_not_writable_by_others(tmp_path):
    file = tmp_path / "key"
    file.write_text("abc")
    file.chmod(0o444)
    ref = SecretRef.parse(f"file:{file}")
    assert ref.resolve(tmp_path / "elsewhere").reveal() == "abc"
    file.chmod(0o646)
    with pytest.raises(SecretExposed):
        ref.resolve(tmp_path)


def test_missing_empty_huge_and_odd_files_are_refused(tmp_path):
    (tmp_path / "folder").mkdir(mode=0o700)
    (tmp_path / "empty").touch(mode=0o600)
    (tmp_path / "huge").touch(mode=0o600)
    (tmp_path / "huge").write_bytes(b"x" * 70_000)
    for name in ("none", "folder", "empty", "huge"):
        with pytest.raises(SecretMissing):
            SecretRef.parse(f"file:{name}").resolve(tmp_path)


@pytest.mark.parametrize("text", ["awssm:prod/stripe", "vault:secret/data/stripe#key"])
def test_remote_stores_are_refused_by_name_until_they_are_there(tmp_path, text):
    with pytest.raises(SecretUnavailable, match="not available in this install"):
        SecretRef.parse(text).resolve(tmp_path)


def test_a_secret_never_shows_itself(caplog):
    secret = Secret("hunter2")
    with caplog.at_level(logging.INFO):
        logging.getLogger("t").info("%s %r %s", secret, secret, {"k": secret})
    shown = f"{secret} {secret!r} {secret:>20} {[secret]} {vars} " + caplog.text
    assert "hunter2" not in shown
    with pytest.raises(TypeError):
        json.dumps(secret)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(secret)
    assert not hasattr(secret, "__dict__")


def test_secrets_compare_by_value_and_only_with_secrets():
    assert Secret("a") == Secret(b"a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    with pytest.raises(TypeError):
        hash(Secret("a"))
