"""The development mailbox holds working links: it answers to its own name only."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from redoubt.core.clock import SystemClock
from redoubt.runtime.mailbox import Store, create_app


def browser(tmp_path: Path, host: str) -> httpx.AsyncClient:
    store = Store(tmp_path / "mail.db", SystemClock())
    store.add("ann@example.org", "Sign in", "https://test.localhost/auth/magic/secret")
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=create_app(store)), base_url=f"http://{host}")


async def test_the_mailbox_shows_what_was_mailed(tmp_path: Path) -> None:
    answer = await browser(tmp_path, "mail.localhost:8025").get("/messages?to=ANN@example.org")
    assert [message["subject"] for message in answer.json()] == ["Sign in"]


@pytest.mark.parametrize("host", ["evil.example", "mail.localhost.evil.example", "evil.example:8025"])
async def test_a_strangers_name_pointed_at_this_machine_reads_no_link(tmp_path: Path, host: str) -> None:
    for path in ("/messages", "/"):
        answer = await browser(tmp_path, host).get(path)
        assert answer.status_code == 400
        assert "secret" not in answer.text
