"""The backends of a soak: ``python -m benchmarks.soak.backend SEED CONTROL CERTIFICATE ROUTE=PORT ...``.

A backend for each route, and a control port that sends the byte counters as JSON to each connection. That of ``reencrypt``
speaks TLS with the certificate and refuses every client that offers to resume a session.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from random import Random
from typing import Any

from OpenSSL import SSL

from benchmarks.soak.secured import SecuredStream, server_context
from benchmarks.soak.talk import FAULTY, HOST, RUDE, WEB, CorruptError, Order, Talk, read_hello, web_head
from benchmarks.soak.web import WebTarget
from smartproxy.wire import client_hello, tls_alert
from smartproxy.wire.verdict import Done

#: Share of conversations on the faulty route with a fault.
_FAULTS = 0.5


class Backend:
    """The backend of one route, with byte counters.

    :param random: source of its faults; ``None`` for a backend without faults.
    :param context: for TLS.
    """

    def __init__(self, route: str, random: Random | None, context: SSL.Context | None) -> None:
        self.moved = {"received": 0, "sent": 0, "corrupt": 0, "resumptions refused": 0}
        self._route = route
        self._random = random
        self._context = context

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = None
        try:
            talk = Talk(reader, writer, self.moved)
            if self._context is not None:
                stream = await self._secure(reader, writer)
                talk = Talk(stream, stream, self.moved)
            fault = self._fault(talk)
            await (self._last_bytes(talk) if self._route == RUDE else self._converse(talk))
        except CorruptError:
            self.moved["corrupt"] += 1
        except (OSError, SSL.Error, asyncio.IncompleteReadError, TimeoutError):
            pass  # a fault of either side, or a client that sent nothing; clean routes are judged by their totals
        finally:
            if fault:
                fault.cancel()
            writer.close()

    async def _secure(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> SecuredStream:
        """The server's end of TLS.

        :raises ConnectionError: for a client that offers to resume a session. It is answered with an alert.
        """
        data = b""
        while not isinstance(parsed := client_hello.parse(data), Done):
            more = await reader.read(65536)
            if not more:
                raise ConnectionResetError("a client without a ClientHello")
            data += more
        if parsed.value.offers_ticket:
            self.moved["resumptions refused"] += 1
            writer.write(tls_alert.build(tls_alert.Alert.INTERNAL_ERROR))
            raise ConnectionResetError("a client that wants to resume")
        assert self._context is not None
        stream = SecuredStream(reader, writer, self._context)
        stream.feed(data)
        await stream.handshake()
        return stream

    def _fault(self, talk: Talk) -> asyncio.TimerHandle | None:
        if self._random is None or self._random.random() > _FAULTS:
            return None
        what = self._random.choice((talk.reset, talk.writer.close))
        return asyncio.get_running_loop().call_later(self._random.uniform(0, 1), what)

    async def _converse(self, talk: Talk) -> None:
        await self._prelude(talk)
        while await self._carry_out(talk, await talk.read_order()):
            pass

    async def _carry_out(self, talk: Talk, order: Order) -> bool:
        """The backend's side of an order. Whether another one follows."""
        if self._random and self._random.random() < _FAULTS / 5:
            await asyncio.sleep(self._random.uniform(1, 8))  # silent for longer than the route allows
        if order.late:
            await talk.receive(order.up)
            await talk.at_end()
            await asyncio.sleep(order.late / 1000)
            await talk.send(order.down, order)
            await talk.end(order)
            return False
        await asyncio.gather(talk.receive(order.up), talk.send(order.down, order))
        if order.more:
            return True
        if order.backend_first:
            await talk.end(order)
        await talk.at_end()
        if not order.backend_first:
            await talk.end(order)
        return False

    async def _last_bytes(self, talk: Talk) -> None:
        """Last bytes and a reset behind them, from the backend (``backend_first``) or from the client.

        The reset comes from closing with unread input. It overtakes the FIN, but not the bytes.
        """
        order = await talk.read_order()
        if order.backend_first:
            talk.deaf()
            await talk.write(b"!")
            await talk.leave_unread(order.up)
            await talk.write(bytes(order.down))
        else:
            await talk.write(bytes(order.down))
            await talk.read(order.up)
            await talk.at_reset()

    async def _prelude(self, talk: Talk) -> None:
        if self._route == "sni":
            await read_hello(talk)
        elif self._route == "http":
            await talk.read(len(web_head(self._route)))


async def _serve(seed: str, control: int, certificate: Path, ports: dict[str, int]) -> None:
    backends: dict[str, Backend | WebTarget] = {
        route: WebTarget()
        if route in WEB
        else Backend(
            route,
            Random(f"{seed}-backend") if route == FAULTY else None,
            server_context(certificate) if route == "reencrypt" else None,
        )
        for route in ports
    }

    async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps({route: backend.moved for route, backend in backends.items()}).encode())
        writer.close()

    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    starting: list[Coroutine[Any, Any, asyncio.Server]] = [
        asyncio.start_server(backends[route].serve, HOST, port, backlog=512) for route, port in ports.items()
    ]
    await asyncio.gather(*starting)
    await asyncio.start_server(tell, HOST, control)
    await ended.wait()


if __name__ == "__main__":
    pairs = (pair.partition("=") for pair in sys.argv[4:])
    asyncio.run(
        _serve(
            sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), {route: int(port) for route, _, port in pairs}
        )
    )
