"""Mail over a real SMTP server: whole, to one person, and refused rather than sent in the clear."""

from __future__ import annotations

import asyncio
import email.policy
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP

from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.jobs import GiveUp, Retry
from redoubt.identity import SmtpMailer
from redoubt.identity.mail import MailSettingsRefused
from tests.support.core import make_core


class Sink:
    """A mail server that keeps what it gets; addresses decide how it answers."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address.startswith("gone"):
            return "550 no such mailbox"
        if address.startswith("full"):
            return "452 mailbox full"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        parsed = message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        self.messages.append(parsed)
        return "250 OK"


@pytest.fixture
def database_url(one_database: str) -> str:
    return one_database


@pytest.fixture
async def smtp() -> AsyncIterator[tuple[Sink, int]]:
    sink = Sink()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(sink), "127.0.0.1", 0)
    try:
        yield sink, server.sockets[0].getsockname()[1]
    finally:
        server.close()


def mailer(core: Core, clock: ManualClock, home: Path, mail: str) -> SmtpMailer:
    settings = (
        '[app]\nname = "test"\nprofile = "development"\nbase_url = "https://test.localhost:8443"\n[mail]\n'
    )
    return SmtpMailer(make_core(core.db, clock, home, settings + mail))


async def test_a_message_arrives_whole(
    core: Core, clock: ManualClock, tmp_path: Path, smtp: tuple[Sink, int]
) -> None:
    sink, port = smtp
    sender = mailer(
        core,
        clock,
        tmp_path / "m",
        f'host = "127.0.0.1"\nport = {port}\nfrom = "shop@example.org"\ntls = "none"\n',
    )
    link = "https://test.localhost:8443/auth/magic/" + "x" * 64
    await sender.send("ada@example.org", "Sign in to Tést", f"Open\n\n{link}\n", "id-1")
    await sender.send("ada@example.org", "Sign in to Tést", f"Open\n\n{link}\n", "id-1")
    first, second = sink.messages
    assert (first["To"], first["From"], first["Subject"]) == (
        "ada@example.org",
        "shop@example.org",
        "Sign in to Tést",
    )
    assert first["Message-ID"] == second["Message-ID"] == "<id-1@test>"
    assert link in first.get_content()


async def test_refusals_are_told_apart(
    core: Core, clock: ManualClock, tmp_path: Path, smtp: tuple[Sink, int]
) -> None:
    _, port = smtp
    sender = mailer(core, clock, tmp_path / "m", f'host = "127.0.0.1"\nport = {port}\ntls = "none"\n')
    with pytest.raises(GiveUp):
        await sender.send("gone@example.org", "s", "t", "1")
    with pytest.raises(Retry):
        await sender.send("full@example.org", "s", "t", "2")


async def test_a_server_that_is_away_means_later(core: Core, clock: ManualClock, tmp_path: Path) -> None:
    sender = mailer(core, clock, tmp_path / "m", 'host = "127.0.0.1"\nport = 1\ntls = "none"\n')
    with pytest.raises(Retry) as caught:
        await sender.send("ada@example.org", "s", "t", "1")
    assert "ada" not in str(caught.value)


async def test_a_server_without_tls_gets_nothing_where_tls_is_asked_for(
    core: Core, clock: ManualClock, tmp_path: Path, smtp: tuple[Sink, int]
) -> None:
    sink, port = smtp
    sender = mailer(core, clock, tmp_path / "m", f'host = "127.0.0.1"\nport = {port}\ntls = "starttls"\n')
    with pytest.raises(Retry):
        await sender.send("ada@example.org", "s", "t", "1")
    assert sink.messages == []


@pytest.mark.parametrize("host", ["mail.example.org", "10.0.0.5", "localhost.example.org"])
def test_links_never_cross_a_network_in_the_clear(
    core: Core, clock: ManualClock, tmp_path: Path, host: str
) -> None:
    with pytest.raises(MailSettingsRefused):
        mailer(core, clock, tmp_path / "m", f'host = "{host}"\ntls = "none"\n')


async def test_nobody_adds_headers(
    core: Core, clock: ManualClock, tmp_path: Path, smtp: tuple[Sink, int]
) -> None:
    sink, port = smtp
    sender = mailer(core, clock, tmp_path / "m", f'host = "127.0.0.1"\nport = {port}\ntls = "none"\n')
    with pytest.raises(ValueError):
        await sender.send("ada@example.org\r\nBcc: eve@example.org", "s", "t", "1")
    assert sink.messages == []
