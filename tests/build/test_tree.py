"""The emitted tree: the same bytes each time, installable from its own lock, read and checked by its own tests."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from redoubt.build import sync
from redoubt.build.emit import HTMX, emit
from redoubt.build.lock import DATA
from redoubt.build.spec import load_spec
from redoubt.build.wheel import PACKAGE, package_files, redoubt_wheel
from redoubt.core.db import Database, migrate
from redoubt.runtime.domains import APP_DOMAINS
from redoubt.supply import check_tree, parse_lock
from redoubt.supply.sbom import read_sbom

from .world import loaded

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop" / "spec.yaml"


def test_the_same_spec_gives_the_same_bytes_in_another_process_and_locale():
    code = (
        "import hashlib,sys;from pathlib import Path;from redoubt.build.emit import emit;from redoubt.build.spec import load_spec;"
        f"p=Path({str(SHOP)!r});t=emit(load_spec(p),p.read_bytes());"
        "print(hashlib.sha256(b''.join(k.encode()+b'\\0'+hashlib.sha256(v).digest() for k,v in sorted(t.items()))).hexdigest())"
    )
    seen = set()
    for seed, zone, language in (("0", "UTC", "C.UTF-8"), ("77", "Asia/Tokyo", "C")):
        environment = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": language}
        seen.add(
            subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, check=True
            ).stdout
        )
    assert len(seen) == 1


def test_no_time_and_no_random_serial_in_the_sbom(shop: Path):
    text = (shop / "sbom.cdx.json").read_text()
    data = json.loads(text)
    assert "timestamp" not in data["metadata"]
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", data["serialNumber"])
    listed = {item.name: item for item in read_sbom(text)}
    pins = {pin.name: pin for pin in parse_lock((shop / "requirements.txt").read_text())}
    assert set(pins) == {name for name, item in listed.items() if item.kind == "pypi"}
    assert all(set(pins[name].hashes) == set(listed[name].hashes) for name in pins)
    licences = [item for item in data["components"] if not item.get("licenses")]
    assert not licences, [item["name"] for item in licences]


def test_the_sbom_is_valid_cyclonedx(shop: Path):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str((shop / "sbom.cdx.json").read_text()) is None


def test_htmx_is_the_file_of_its_package():
    assert hashlib.sha256((PACKAGE / "runtime/static/htmx.min.js").read_bytes()).hexdigest() == HTMX.hashes[0]


def test_the_wheel_holds_every_file_of_the_package_and_a_true_record():
    wheel = redoubt_wheel()
    import base64
    import io

    with zipfile.ZipFile(io.BytesIO(wheel.data)) as archive:
        names = archive.namelist()
        record = archive.read(f"redoubt-{wheel.version}.dist-info/RECORD").decode().splitlines()
        for line in record[:-1]:
            name, digest, size = line.rsplit(",", 2)
            data = archive.read(name)
            expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert (digest, int(size)) == (f"sha256={expected}", len(data))
    assert {f"redoubt/{path.relative_to(PACKAGE).as_posix()}" for path in package_files()} <= set(names)
    assert len(record) == len(names)
    assert any(name.endswith("build/templates/app/main.py.j2") for name in names)
    assert not any("__pycache__" in name or name.endswith(".pyc") for name in names)


def test_the_app_installs_from_its_own_folder_offline_with_hashes(shop: Path, tmp_path: Path):
    """The wheel alone, by the lock's line for it; the third-party lines are the repository's own lock."""
    line = re.search(r"redoubt==\S+ \\\n\s+--hash=\S+", (shop / "requirements.txt").read_text())
    assert line is not None
    lock = tmp_path / "lock.txt"
    lock.write_text(f"--find-links {shop / 'vendor'}\n{line[0]}\n")
    target = tmp_path / "site"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-index",
        "--no-deps",
        "--require-hashes",
        "--target",
        str(target),
    ]
    subprocess.run([*command, "-r", str(lock)], check=True, capture_output=True)
    answer = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path.insert(0, {str(target)!r}); import redoubt.cli, redoubt; print(redoubt.__file__)",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    assert answer.stdout.startswith(str(target))
    lock.write_text(lock.read_text().replace("sha256:", "sha256:0", 1)[:-1] + "\n")
    assert (
        subprocess.run([*command, "--upgrade", "-r", str(lock)], check=False, capture_output=True).returncode
        != 0
    )


def test_the_lock_of_the_package_is_the_lock_of_the_repository():
    made = sync.lock_data(ROOT / "requirements")
    stale = [name for name, text in made.items() if (DATA / name).read_text() != text]
    assert not stale, "run: python -m redoubt.build.sync requirements"


def test_emitted_files_pass_our_own_supply_checks(shop: Path, relay: Path):
    assert check_tree(shop) == []
    assert check_tree(relay) == []


def test_emitted_code_is_clean_and_formatted(shop: Path, relay: Path):
    for out in (shop, relay):
        for command in (["check"], ["format", "--check"]):
            done = subprocess.run(
                [sys.executable, "-m", "ruff", *command, "--no-cache", str(out)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr


def test_emitted_files_end_in_one_newline_and_hold_no_machine(shop: Path):
    for path in sorted(shop.rglob("*")):
        if path.is_file() and "vendor" not in path.parts:
            data = path.read_bytes()
            assert data.endswith(b"\n"), path
            assert not data.endswith(b"\n\n"), path
            for trace in (str(ROOT), str(shop), os.path.expanduser("~") + "/"):
                assert trace.encode() not in data, path


def test_settings_hold_references_only(shop: Path):
    settings = tomllib.loads((shop / "redoubt.toml").read_text())
    assert settings["charge"]["provider_key"] == "env:STRIPE_API_KEY"
    assert settings["charge"]["refunds_per_day"] == 200000
    assert all(ref.startswith("env:") for hook in settings["webhooks"].values() for ref in hook["secrets"])


def test_the_workflow_is_pinned_and_can_only_read(shop: Path):
    import yaml

    text = (shop / ".github/workflows/ci.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert all(re.search(r"@[0-9a-f]{40} #", line) for line in text.splitlines() if "uses:" in line)
    assert "--require-hashes" in text
    assert "redoubt build --check" in text


def test_the_image_runs_as_nobody_special_from_the_lock(shop: Path):
    text = (shop / "Dockerfile").read_text()
    assert re.search(r"(?m)^USER 10001$", text)
    assert "--require-hashes" in text
    assert "COPY . " not in text


@pytest.mark.parametrize("name", ["shop", "relay"])
def test_migrations_make_the_tables_that_the_app_declares(
    name: str, request: pytest.FixtureRequest, database_url: str, tmp_path: Path
):
    out: Path = request.getfixturevalue(name)
    environment = {
        "REDOUBT_APP__STATE_DIR": str(tmp_path / "state"),
        "REDOUBT_APP__BASE_URL": "https://shop.localhost",
    }
    with loaded(out, environment):
        entities = sys.modules["app.entities"].ENTITIES
    db = Database(database_url)
    try:
        migrate(db, [*APP_DOMAINS, entities.domain])

        def differences(tx: object) -> list[object]:
            context = MigrationContext.configure(
                tx.conn, opts={"include_object": _ours, "compare_type": False}
            )  # type: ignore[attr-defined]
            return list(compare_metadata(context, entities.metadata))

        assert db.read_sync(differences) == []
        tables = db.read_sync(lambda tx: set(sa.inspect(tx.conn).get_table_names()))
        assert {table.name for table in entities.metadata.sorted_tables} <= tables
    finally:
        db.close()


def _ours(_object: object, name: str, kind: str, *_: object) -> bool:
    return kind != "table" or name.startswith("app_")


def test_the_description_names_every_route_of_the_api_and_its_permission(shop: Path, tmp_path: Path):
    environment = {
        "REDOUBT_APP__STATE_DIR": str(tmp_path / "state"),
        "REDOUBT_APP__BASE_URL": "https://shop.localhost",
    }
    with loaded(shop, environment) as (app, _guard):
        from redoubt.authz.permits import permission_of, walk

        served = {}
        for leaf in walk(app):
            permission = permission_of(leaf.route)
            if leaf.path.startswith("/api/") and permission is not None:
                for method in leaf.route.methods - {"HEAD"}:
                    served[(method.lower(), leaf.path)] = permission.action
    described = {
        (method, path): operation.get("x-redoubt-permission")
        for path, item in json.loads((shop / "openapi.json").read_text())["paths"].items()
        for method, operation in item.items()
        if method != "parameters" and path.startswith("/api/")
    }
    assert served == described


def test_the_emitted_tests_pass_and_catch_a_changed_policy(shop: Path, tmp_path: Path):
    import shutil

    copy = tmp_path / "shop"
    shutil.copytree(shop, copy)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(copy),
        str(copy / "tests"),
    ]
    good = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stdout
    policy = copy / "policies" / "order.cedar"
    text = policy.read_text()
    for old, new in (
        ("resource.owner == principal", "true"),
        ('principal in Role::"support"', "principal"),
    ):
        assert old in text
        policy.write_text(text.replace(old, new, 1))
        for suite in ("test_denies.py", "test_decisions.py"):
            bad = subprocess.run(
                [*command[:-1], str(copy / "tests" / suite)], cwd=copy, capture_output=True, check=False
            )
            assert bad.returncode == 1, (old, suite)
    for file, old in (
        ("app/entities.py", ", price=True"),
        ("app/migrations/0001_app.py", '    defend_price(op, "app_products", "Product", "price")\n'),
    ):
        text = (copy / file).read_text()
        assert text.count(old) == 1
        (copy / file).write_text(text.replace(old, ""))
        bad = subprocess.run(
            [*command[:-1], str(copy / "tests" / "test_prices.py")],
            cwd=copy,
            capture_output=True,
            check=False,
        )
        assert bad.returncode == 1, file
        (copy / file).write_text(text)


def test_text_of_a_spec_cannot_become_code(tmp_path: Path):
    """Whatever stands in a title is data in each language that is emitted."""
    nasty = 'x"""+__import__("os").system("id")+"""${{ github.token }} {% raw %}'
    text = SHOP.read_text().replace("title: Deliver to", f"title: {json.dumps(nasty)}")
    from redoubt.build.errors import SpecInvalid

    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(SpecInvalid):
        load_spec(path)
    fine = "It's 'quoted' \" & #1"
    path.write_text(SHOP.read_text().replace("title: Corner Shop", f"title: {json.dumps(fine)}"))
    tree = emit(load_spec(path), path.read_bytes())
    for name, data in tree.items():
        if name.endswith(".py"):
            ast.parse(data)
    assert json.loads(tree["openapi.json"])["info"]["title"] == fine
    tomllib.loads(tree["redoubt.toml"].decode())


def test_post_filter_reaches_the_entity_that_asks_for_it_and_no_other(tmp_path: Path):
    text = SHOP.read_text().replace("\n  Order:\n", "\n  Order:\n    post_filter: true\n", 1)
    asked = tmp_path / "spec.yaml"
    asked.write_text(text)
    found = emit(load_spec(asked), asked.read_bytes())["app/entities.py"].decode()
    calls = [node for node in ast.walk(ast.parse(found)) if isinstance(node, ast.Call)]
    kinds = {
        ast.literal_eval(call.args[0]): any(item.arg == "post_filter" for item in call.keywords)
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "EntityType"
    }
    assert len(kinds) > 3
    assert [name for name, asks in kinds.items() if asks] == ["Order"]
