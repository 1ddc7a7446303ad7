"""Sends mail through the shop's mail server, over a real SMTP connection."""

from __future__ import annotations

import mimetypes
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import anyio

from .settings import settings

SENDER = "orders@shop.example"


async def send(recipient: str, subject: str, text: str, attachment: Path | None = None) -> None:
    """Send one mail; raises what the server or the file system has against it."""
    message = EmailMessage()
    message["From"] = SENDER
    message["To"] = recipient
    message["Subject"] = subject
    message.set_content(text)
    if attachment is not None:
        content = await anyio.Path(attachment).read_bytes()
        kind, _, subkind = (mimetypes.guess_type(attachment)[0] or "application/octet-stream").partition("/")
        message.add_attachment(content, kind, subkind, filename=attachment.name)
    await aiosmtplib.send(
        message,
        hostname=settings.smtp_host,
        port=settings.smtp_port,
        timeout=settings.smtp_timeout,
        start_tls=False,
    )
