"""The handlers of the proxy that is measured; it imports them by name."""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smartproxy.serving.connection import Connection


async def answer(connection: Connection) -> None:
    """Answer the first bytes with themselves, and end."""
    await connection.write(await connection.read())


async def fail(connection: Connection) -> None:
    """Raise."""
    await connection.read()
    raise ValueError("the handler fails, as it should here")


async def wait(connection: Connection) -> None:
    """Read to the end."""
    while await connection.read():
        pass


async def collect(connection: Connection) -> None:
    """Run the collector of reference cycles once. Answers how many objects it found, and whether it runs by itself."""
    found = {"unreachable": gc.collect(), "enabled": gc.isenabled()}
    await connection.write(json.dumps(found).encode())
