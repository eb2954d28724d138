"""Locks, bill of materials and secret references: each flaw planted in a tree is found, a sound tree is clean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redoubt.supply import (
    Component,
    LockUnreadable,
    Pin,
    check_installed,
    check_locks,
    check_sbom,
    check_secrets,
    check_tree,
    make_sbom,
    parse_lock,
)
from redoubt.supply.secrets import scan_text

HASH = "a1" * 32
GOOD = f"anyio==4.1.0 \\\n    --hash=sha256:{HASH}\nattrs==25.1.0 --hash=sha256:{'b2' * 32}\n"


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return root


def rules(root: Path) -> list[tuple[str, int, str]]:
    return [(finding.path, finding.line, finding.rule) for finding in check_locks(root)]


def test_a_full_lock_is_clean(tmp_path: Path):
    write(tmp_path, "requirements.txt", f"# a comment\n--find-links vendor\n{GOOD}")
    assert rules(tmp_path) == []
    assert [(pin.name, pin.version) for pin in parse_lock(GOOD)] == [("anyio", "4.1.0"), ("attrs", "25.1.0")]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("anyio", "unpinned"),
        (f"anyio>=4 --hash=sha256:{HASH}", "unpinned"),
        (f"anyio==4.* --hash=sha256:{HASH}", "unpinned"),
        (f"anyio~=4.1 --hash=sha256:{HASH}", "unpinned"),
        ("anyio==4.1.0", "unhashed"),
        (f"anyio==4.1.0 --hash=md5:{'a' * 32}", "weak-hash"),
        (f"anyio==4.1.0 --hash=sha256:{'a' * 12}", "weak-hash"),
        ("git+https://github.com/agronholm/anyio@main", "vcs"),
        ("anyio @ git+https://github.com/agronholm/anyio@4.1.0", "vcs"),
        ("anyio @ https://example.com/anyio-4.1.0-py3-none-any.whl", "url"),
        ("https://example.com/anyio-4.1.0.tar.gz", "url"),
        ("./local/package", "url"),
        ("-e .", "editable"),
        ("--editable=git+https://github.com/x/y", "editable"),
        ("--index-url http://mirror.example/simple", "untrusted-index"),
        ("--trusted-host mirror.example", "untrusted-index"),
        ("--extra-index-url https://mirror.example/simple", "second-index"),
        ("anyio=4.1", "lock-unreadable"),
    ],
)
def test_an_open_line_is_found_where_it_stands(tmp_path: Path, line: str, rule: str):
    write(tmp_path, "requirements.txt", f"{GOOD}{line}\n")
    assert ("requirements.txt", 4, rule) in rules(tmp_path)
    if not line.startswith("--"):
        with pytest.raises(LockUnreadable):
            parse_lock(f"{GOOD}{line}\n")


def test_projects_without_a_lock_are_found(tmp_path: Path):
    write(tmp_path, "pyproject.toml", '[project]\nname = "x"\ndependencies = ["anyio"]\n')
    write(tmp_path, "web/package.json", '{"dependencies": {"left-pad": "^1.0.0"}}')
    assert {("pyproject.toml", "no-lock"), ("web/package.json", "no-lock")} == {
        (a, c) for a, _, c in rules(tmp_path)
    }
    write(tmp_path, "requirements.txt", GOOD)
    write(tmp_path, "web/package-lock.json", json.dumps({"lockfileVersion": 3, "packages": {}}))
    assert rules(tmp_path) == []


def test_node_locks_are_read_in_every_version(tmp_path: Path):
    good = {
        "version": "1.0.0",
        "resolved": "https://registry.example/a.tgz",
        "integrity": "sha512-" + "A" * 86 + "==",
    }
    three = {
        "lockfileVersion": 3,
        "packages": {
            "": {"name": "x"},
            "node_modules/good": good,
            "node_modules/bare": {"version": "1.0.0", "resolved": "https://registry.example/b.tgz"},
            "node_modules/weak": {**good, "integrity": "sha1-abc="},
            "node_modules/git": {"version": "1.0.0", "resolved": "git+ssh://git@github.com/a/b.git#c"},
            "node_modules/plain": {**good, "resolved": "http://registry.example/c.tgz"},
            "node_modules/linked": {"resolved": "packages/linked", "link": True},
            "packages/linked": {"version": "1.0.0"},
        },
    }
    write(tmp_path, "package-lock.json", json.dumps(three, indent=1))
    found = {
        finding.rule: finding.message.split()[0]
        for finding in check_locks(tmp_path)
        if "bare" in finding.message or "git" in finding.message or "plain" in finding.message
    }
    assert found == {
        "unhashed": "node_modules/bare",
        "vcs": "node_modules/git",
        "untrusted-index": "node_modules/plain",
    }
    assert len(rules(tmp_path)) == 4
    one = {
        "lockfileVersion": 1,
        "dependencies": {
            "good": good,
            "bad": {"version": "1.0.0", "dependencies": {"deep": {"version": "2.0.0"}}},
        },
    }
    write(tmp_path, "package-lock.json", json.dumps(one))
    assert [rule for _, _, rule in rules(tmp_path)] == ["unhashed", "unhashed"]


def test_images_and_workflows_install_from_the_lock(tmp_path: Path):
    write(
        tmp_path,
        "Dockerfile",
        "FROM python:3.11\nRUN pip install --upgrade pip && \\\n    pip install flask\n",
    )
    write(
        tmp_path, ".github/workflows/ci.yml", "steps:\n  - uses: actions/checkout@v4\n  - run: npm install\n"
    )
    assert {(path, rule) for path, _, rule in rules(tmp_path)} == {
        ("Dockerfile", "unlocked-install"),
        (".github/workflows/ci.yml", "unpinned-action"),
        (".github/workflows/ci.yml", "unlocked-install"),
    }
    write(tmp_path, "Dockerfile", "FROM python:3.11\nRUN pip install --require-hashes -r requirements.txt\n")
    write(
        tmp_path,
        ".github/workflows/ci.yml",
        f"steps:\n  - uses: actions/checkout@{'a' * 40} # v4\n  - run: npm ci\n",
    )
    assert rules(tmp_path) == []


def sbom(*pins: Pin) -> str:
    return make_sbom("app", "1", [Component(pin.name, pin.version, pin.hashes, "MIT") for pin in pins])


def test_the_sbom_is_held_against_the_lock(tmp_path: Path):
    pins = parse_lock(GOOD)
    write(tmp_path, "sbom.cdx.json", sbom(*pins))
    assert check_sbom(tmp_path, pins) == []
    assert sbom(*pins) == sbom(*reversed(pins))
    for listed, rule in (
        (pins[:1], "sbom-missing"),
        ([*pins, Pin("extra", "1", (HASH,))], "sbom-extra"),
        ([pins[0], Pin("attrs", "25.2.0", pins[1].hashes)], "sbom-version"),
        ([pins[0], Pin("attrs", "25.1.0", (HASH,))], "sbom-hash"),
    ):
        write(tmp_path, "sbom.cdx.json", sbom(*listed))
        assert [finding.rule for finding in check_sbom(tmp_path, pins)] == [rule]
    for text in ("{}", "not json", "[]", '{"bomFormat": "CycloneDX", "components": [5]}'):
        write(tmp_path, "sbom.cdx.json", text)
        assert [finding.rule for finding in check_sbom(tmp_path, pins)] == ["sbom-unreadable"]
    (tmp_path / "sbom.cdx.json").unlink()
    assert [finding.rule for finding in check_sbom(tmp_path, pins)] == ["no-sbom"]


def test_what_is_installed_is_held_against_the_lock(tmp_path: Path):
    for name, version in (("anyio", "4.1.0"), ("attrs", "25.0.0"), ("stranger", "1")):
        write(
            tmp_path,
            f"{name}-{version}.dist-info/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        )
    pins = [
        *parse_lock(GOOD),
        Pin("idna", "3.1", (HASH,)),
        Pin("colorama", "1", (HASH,), 0, "sys_platform == 'win32'"),
    ]
    found = {(finding.rule, finding.message.split()[0]) for finding in check_installed(tmp_path, pins)}
    assert found == {("other-version", "attrs"), ("not-locked", "stranger"), ("not-installed", "idna")}


STRIPE = "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"
PLANTED = {
    "redoubt.toml": f'[charge]\nprovider_key = "{STRIPE}"\n',
    "settings.yaml": "db:\n  password: hunter2hunter2\n",
    ".env": "API_KEY=9f8a7b6c5d4e3f2a1b0c\n",
    "Dockerfile": "FROM x\nENV DB_PASSWORD correct-horse\n",
    "Dockerfile.dev": "FROM x\nENV SECRET_KEY=abcdefgh1234\n",
    ".github/workflows/ci.yml": "env:\n  DEPLOY_TOKEN: 0123456789abcdef0123\n",
    "main.tf": 'resource "x" "y" {\n  master_password = "Sup3rS3cret!"\n}\n',
    "app/config.py": 'SECRET_KEY = "k3J9x8Q2v7Zp1Lm5Tn6R"\n',
    "app/client.js": f'const s = new Stripe("{STRIPE}");\n',
    "app/db.py": 'URL = "postgresql://app:s3cr3tpw@db.internal/app"\n',
    "keys/id.pem": "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAxyz0123456789abcdef\n",
    "notes.md": "the key is AKIA" + "QWERTYUIOPASDFGH" + "\n",
    "token.txt": "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8" + "\n",
    "config.json": '{\n "clientSecret": "zD8-very-secret-value"\n}\n',
}
SOUND = {
    "redoubt.toml": 'provider_key = "env:STRIPE_API_KEY"\nsecrets = ["env:HOOK_SECRET"]\npassword = "file:var/smtp"\n',
    "settings.yaml": "db:\n  password: ${DB_PASSWORD}\n  token: !Ref Token\ntoken_url: https://x.example/token\nsecretName: app\n",
    ".env.example": "API_KEY=changeme\nPASSWORD=\n",
    "Dockerfile": "FROM x\nARG TOKEN\nENV SECRET_KEY_FILE=/run/secrets/key\nENV PASSWORD=${PASSWORD}\n",
    ".github/workflows/ci.yml": "permissions:\n  id-token: write\nenv:\n  TOKEN: ${{ secrets.TOKEN }}\n",
    "main.tf": 'resource "x" "y" {\n  master_password = var.password\n  token = aws_secretsmanager_secret.a.arn\n}\n',
    "app/config.py": 'SECRET_KEY = os.environ["SECRET_KEY"]\npassword = "Enter your password"\ntoken: str = read_token()\nTOKEN_HEADER = "x-csrf-token"\n',
    "app/db.py": 'URL = "postgresql://app@db.internal/app"\nOTHER = "https://user:${PASSWORD}@x.example"\n',
    "docs/a.md": "Use sk_test_xxxxxxxxxxxxxxxxxxxxxxxx, or -----BEGIN PRIVATE KEY----- in a file.\n",
    "requirements.txt": GOOD,
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_literal_secret_is_found_and_never_repeated(tmp_path: Path, name: str):
    write(tmp_path, name, PLANTED[name])
    found = check_secrets(tmp_path)
    assert [finding.path for finding in found] == [name]
    value = max(PLANTED[name].replace('"', " ").replace("=", " ").split(), key=len)
    assert value not in repr(found)


@pytest.mark.parametrize("name", SOUND)
def test_references_and_words_are_no_secrets(tmp_path: Path, name: str):
    write(tmp_path, name, SOUND[name])
    assert check_secrets(tmp_path) == []


def test_state_and_environments_are_not_read(tmp_path: Path):
    for folder in ("var", ".venv", ".git", "node_modules"):
        write(tmp_path, f"{folder}/settings.toml", PLANTED["redoubt.toml"])
    outside = tmp_path.parent / "outside.toml"
    outside.write_text(PLANTED["redoubt.toml"])
    (tmp_path / "link.toml").symlink_to(outside)
    assert check_tree(tmp_path) == []


@given(
    st.text(max_size=300),
    st.sampled_from(["a.toml", "a.py", "Dockerfile", "a.yaml", ".env", "requirements.txt"]),
)
def test_any_text_is_scanned_without_an_error(text: str, name: str):
    for finding in scan_text(text, name):
        assert 1 <= finding.line <= text.count("\n") + text.count("\r") + len(text) + 1
