"""aiosmtplib in a process of its own: `python aiosmtplib_client.py SETTINGS.json` sends one message.

It does not wait until its transport is closed, so in the process of the tests it would leave things open.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from pathlib import Path
from typing import Any

import aiosmtplib


async def send(settings: dict[str, Any]) -> None:
    """Connect, log in where there is TLS, send the file, and leave."""
    client = aiosmtplib.SMTP(
        hostname=settings["host"],
        port=settings["port"],
        local_hostname=settings["hello"],
        timeout=30,
        use_tls=settings["mode"] == "implicit",
        start_tls=settings["mode"] == "starttls",
        tls_context=ssl.create_default_context(cafile=settings["ca"]),
    )
    async with client:
        if settings["mode"] != "plain":
            await client.login(settings["login"], settings["password"])
        content = Path(settings["file"]).read_bytes()
        refused, _ = await client.sendmail(settings["sender"], settings["recipients"], content)
        assert not refused, refused


if __name__ == "__main__":
    asyncio.run(send(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
