"""Mail over SMTP, one message a call; the same message keeps its Message-ID when it has to be sent again."""

from __future__ import annotations

import ipaddress
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

import aiosmtplib

from redoubt.core.base import Core
from redoubt.core.jobs import GiveUp, Retry

from .errors import IdentityError

_TIMEOUT = 20.0


class MailSettingsRefused(IdentityError):
    """Links would cross a network in the clear."""

    code = "mail-settings"


class SmtpMailer:
    """Hands messages to the relay of `[mail]`; TLS unless the relay is on this machine."""

    def __init__(self, core: Core) -> None:
        """Raises MailSettingsRefused for `tls = "none"` with a relay that is not on the loopback interface."""
        self._core = core
        self._mail = core.settings.mail
        if self._mail.tls == "none" and not _is_loopback(self._mail.host):
            raise MailSettingsRefused(
                "login links would be mailed in the clear.",
                hint='Set [mail] tls to "starttls" or "implicit".',
            )

    async def send(self, to: str, subject: str, text: str, message_id: str) -> None:
        """Return once the relay took the message; raises Retry or, where it can never succeed, GiveUp."""
        message = EmailMessage(policy=SMTP)
        message["From"] = _address(self._mail.sender)
        message["To"] = _address(to)
        message["Subject"] = subject
        message["Message-ID"] = f"<{message_id}@{self._core.settings.app.name}>"
        message["Date"] = self._core.clock.now()
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        password = self._mail.password
        try:
            await aiosmtplib.send(
                message,
                hostname=self._mail.host,
                port=self._mail.port,
                username=self._mail.user,
                password=self._core.settings.reveal(password).reveal() if password else None,
                use_tls=self._mail.tls == "implicit",
                start_tls=self._mail.tls == "starttls",
                timeout=_TIMEOUT,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            if all(500 <= refused.code < 600 for refused in error.recipients):
                raise GiveUp("the mail server refuses this recipient.") from None
            raise Retry("the mail server refuses this recipient for now.") from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Retry(f"the mail server did not take the message ({type(error).__name__}).") from None


def _address(text: str) -> Address:
    local, _, domain = text.rpartition("@")
    return Address(username=local, domain=domain)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
