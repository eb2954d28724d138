"""Edits of policies as text: each gives, takes or keeps what it says, judged by the reference engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cedarpy
import pytest

from redoubt.verify.probes.cedar import (
    ADDED,
    elevating_edits,
    equal_edits,
    forbidden,
    granted_to,
    granting,
    narrower_edits,
    read_policies,
    statements,
    wider_edits,
    write_policies,
)

READ = """@id("Note.read:user+own")
permit (
  principal in Role::"user",
  action == Action::"Note.read",
  resource is Note
)
when {
  principal.tenant == resource.tenant &&
  resource.owner == principal
};

@id("Note.read:clerk")
permit (principal in Role::"clerk", action == Action::"Note.read", resource is Note)
when { principal.tenant == resource.tenant };
"""
TEXTS = {"note.cedar": READ, "schema.cedarschema": "// kept as it is"}


def ask(texts: dict[str, str], role: str, person: str, note: str, tenant: str = "main") -> bool:
    def entity(kind: str, name: str, attrs: dict[str, Any], *parents: str) -> dict[str, Any]:
        return {
            "uid": {"type": kind, "id": name},
            "attrs": attrs,
            "parents": [{"type": "Role", "id": one} for one in parents],
        }

    owner = {"__entity": {"type": "User", "id": "alice"}}
    entities = [
        entity("User", "alice", {"tenant": tenant}, role),
        entity("User", "bob", {"tenant": tenant}, role),
        *(entity("Note", one, {"tenant": "main", "owner": owner}) for one in ("n1", "n2")),
        entity("Role", role, {}),
    ]
    request = {
        "principal": f'User::"{person}"',
        "action": 'Action::"Note.read"',
        "resource": f'Note::"{note}"',
        "context": {},
    }
    policies = "\n".join(text for name, text in texts.items() if name.endswith(".cedar"))
    answer = cedarpy.is_authorized(request, policies, entities)
    assert not answer.diagnostics.errors
    return bool(answer.allowed)


CELLS = [
    (role, person, note, tenant)
    for role in ("user", "clerk", "guest")
    for person in ("alice", "bob")
    for note in ("n1", "n2")
    for tenant in ("main", "other")
]


def table(texts: dict[str, str]) -> list[bool]:
    return [ask(texts, *cell) for cell in CELLS]


def test_the_statements_of_a_file_are_found_and_nothing_is_lost() -> None:
    assert [one.split("\n", 1)[0] for one in statements(READ)] == [
        '@id("Note.read:user+own")',
        '@id("Note.read:clerk")',
    ]
    assert "".join(statements(READ)) == READ


@pytest.mark.parametrize("words", sorted(equal_edits(TEXTS)))
def test_an_equal_edit_decides_as_before(words: str) -> None:
    edited = equal_edits(TEXTS)[words]
    assert edited["note.cedar"] != READ
    assert table(edited) == table(TEXTS)


@pytest.mark.parametrize("words", sorted(narrower_edits(TEXTS)))
def test_a_narrower_edit_takes_and_gives_nothing(words: str) -> None:
    before, after = table(TEXTS), table(narrower_edits(TEXTS)[words])
    assert before != after
    assert all(old or not new for old, new in zip(before, after, strict=True))


def test_there_are_three_ways_to_widen() -> None:
    assert len(wider_edits(TEXTS)) == 3


@pytest.mark.parametrize("words", sorted(wider_edits(TEXTS)))
def test_a_wider_edit_gives_more(words: str) -> None:
    before, after = table(TEXTS), table(wider_edits(TEXTS)[words])
    assert any(new and not old for old, new in zip(before, after, strict=True))


def test_a_grant_is_of_one_object_and_a_forbid_takes_one_from_everybody() -> None:
    clerk = granting(TEXTS, "Note.read", "clerk")
    assert clerk is not None
    given = {**TEXTS, ADDED: granted_to(clerk, "user", "n1") + "\n" + forbidden(clerk, "n2")}
    assert ask(given, "user", "bob", "n1")
    assert not ask(given, "guest", "bob", "n1")
    assert not ask(given, "user", "alice", "n2")
    assert not ask(given, "clerk", "bob", "n2")
    assert granting(TEXTS, "Note.read", "guest") is None


def test_a_folder_is_written_as_it_was_read(tmp_path: Path) -> None:
    folder = write_policies(tmp_path / "policies", TEXTS)
    (folder / "notes.txt").write_text("no policy")
    assert read_policies(folder) == TEXTS


def test_a_write_is_granted_to_an_action_of_who_lacks_something() -> None:
    schema = '@grant("by request")\nentity Robot;\n@grant("by Enrolment.create, sign-up")\nentity User in [Role];\n'
    more = (
        READ
        + '\n@id("Note.list:clerk")\npermit (principal in Role::"clerk", action == Action::"Note.list", resource);\n'
    )
    (edited,) = elevating_edits({"note.cedar": more, "schema.cedarschema": schema}).values()
    assert edited["note.cedar"] == more
    assert edited["schema.cedarschema"] == schema.replace("sign-up", "sign-up, Note.read")
    assert elevating_edits({"note.cedar": READ, "schema.cedarschema": schema}) == {}  # nobody lacks anything
    assert elevating_edits({"note.cedar": more, "schema.cedarschema": "entity User in [Role];"}) == {}
