"""The handler of the route ``stubborn``: it catches every exception, that of its cancel included, and answers late.

It is copied beside the configuration of the proxy, which imports it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smartproxy.serving.connection import Connection

LATE_ANSWER = b"late"


async def answer_late(connection: Connection) -> None:
    """Read once, and answer 0.6 s later, whatever happens to the connection."""
    with contextlib.suppress(Exception):
        await connection.read()
    for _ in range(3):
        with contextlib.suppress(Exception):
            await connection.wait(0.2)
    with contextlib.suppress(Exception):
        await connection.write(LATE_ANSWER)
