"""The clients of a soak that misbehave, or are refused. What the proxy must do with each is known, and is checked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from OpenSSL import SSL

from benchmarks.soak.certificates import DOMAIN
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.proxy import FIRST_BYTES_TIMEOUT, HEADER_TIMEOUT, Ports
from benchmarks.soak.secured import SecuredStream
from benchmarks.soak.stubborn import LATE_ANSWER
from benchmarks.soak.talk import (
    HOST,
    TRUSTED,
    CorruptError,
    Order,
    Talk,
    connect,
    converse,
    header,
    hello,
    web_head,
)

_TLS_ALERT = b"\x15"
_NOT_FOUND = b"HTTP/1.1 404 "
#: A record that cannot be decrypted.
_GARBAGE = b"\x17\x03\x03\x00\x05junk!"
#: Seconds that the proxy may take to act on a deadline of its own on a busy machine.
_SLACK = 10.0
#: Seconds behind a timeout of the proxy at which a client is late for certain. It may have been accepted late, too: where its
#: worker has just been killed, another one takes it.
_LATE = (2.0, 4.0)
_PAGES = 20

Act = Callable[[Random], Awaitable[None]]


def source(random: Random) -> str:
    return f"127.0.1.{random.randint(1, 20)}"


class Hostile:
    """Conversations by kind.

    :ivar weights: how often each kind is chosen.
    """

    def __init__(self, ports: Ports, admin: int, context: SSL.Context, ledger: Ledger) -> None:
        self._ports = ports
        self._admin = admin
        self._context = context
        self._ledger = ledger
        self._acts: dict[str, tuple[int, Act]] = {
            "refused": (5, self._refused),
            "unknown": (5, self._unknown),
            "lingering": (4, self._lingering),
            "half a hello": (2, self._half_hello),
            "stalled handshake": (2, self._stalled_handshake),
            "garbage in the last flight": (4, self._garbage),
            "late header": (2, self._late_header),
            "half a header": (2, self._half_header),
            "late payload": (2, self._late_payload),
            "stubborn handler": (6, self._stubborn),
            "slow reader of metrics": (2, self._slow_metrics),
        }
        self.weights = {kind: weight for kind, (weight, _) in self._acts.items()}

    async def attempt(self, kind: str, random: Random) -> None:
        await self._acts[kind][1](random)

    # -- refused clients ---------------------------------------------------------------------------------

    async def _refused(self, random: Random) -> None:
        """The target refuses."""
        heard = await self._exchange(self._ports.refused, b"anything", random)
        self._ledger.refused["upstream_refused"] += 1
        if heard:
            raise CorruptError(f"answered {heard[:40]!r}")

    async def _unknown(self, random: Random) -> None:
        """Ask for an unknown name: TLS gets an alert, HTTP a status."""
        tls = random.random() < 0.5
        said = hello("nobody", random) if tls else web_head("nobody")
        heard = await self._exchange(self._ports.named, said, random)
        self._ledger.refused["no_route"] += 1
        if not heard.startswith(_TLS_ALERT if tls else _NOT_FOUND):
            raise CorruptError(f"answered {heard[:40]!r}")

    async def _exchange(self, port: int, said: bytes, random: Random) -> bytes:
        """The answer up to its end; ``b""`` for a reset."""
        try:
            talk = await self._dial(port, source(random))
        except ConnectionResetError:
            return b""  # reset while connecting
        try:
            await talk.write(said)
            heard: bytes = await talk.reader.read()
        except ConnectionError:
            return b""
        finally:
            await talk.close()
        return heard

    async def _lingering(self, random: Random) -> None:
        """Refused, and does not close."""
        talk = await self._dial(self._ports.named, source(random))
        try:
            await talk.write(web_head("nobody"))
            heard: bytes = await talk.reader.read()
            self._ledger.refused["no_route"] += 1
            if not heard.startswith(_NOT_FOUND):
                raise CorruptError(f"answered {heard[:40]!r}")
            await asyncio.sleep(random.uniform(0, 4))
        finally:
            await talk.close()

    # -- TLS ---------------------------------------------------------------------------------------------

    async def _half_hello(self, random: Random) -> None:
        said = hello("inside", random)
        talk = await self._dial(self._ports.inside, source(random))
        await talk.write(said[: random.randint(1, len(said) - 1)])
        await self._until_closed(talk, FIRST_BYTES_TIMEOUT)
        self._ledger.refused["initial_data_timeout"] += 1

    async def _stalled_handshake(self, random: Random) -> None:
        """A whole hello, and nothing more."""
        talk = await self._dial(self._ports.inside, source(random))
        await talk.write(self._secured(talk).hello())
        await self._until_closed(talk, FIRST_BYTES_TIMEOUT)

    async def _garbage(self, random: Random) -> None:
        """A broken record in the same flight as the last message of the handshake."""
        talk = await self._dial(self._ports.inside, source(random))
        stream = self._secured(talk)
        if random.random() < 0.5:
            asyncio.get_running_loop().call_later(random.uniform(0, 0.02), talk.reset)
            try:
                await stream.handshake(_GARBAGE)
            except (ConnectionError, SSL.Error):
                return
        else:
            await stream.handshake(_GARBAGE)
        await self._until_closed(talk, 0)

    def _secured(self, talk: Talk) -> SecuredStream:
        return SecuredStream(talk.reader, talk.writer, self._context, f"inside.{DOMAIN}")

    # -- a trusted peer ----------------------------------------------------------------------------------

    async def _late_header(self, random: Random) -> None:
        """It was taken as a direct client and dialed for, and is refused now."""
        talk = await self._dial(self._ports.announced, TRUSTED)
        self._ledger.opened["announced"] += 1
        await asyncio.sleep(HEADER_TIMEOUT + random.uniform(*_LATE))
        await talk.write(header(random) + b"payload")
        await self._until_closed(talk, 0)
        self._ledger.refused["proxy_header_timeout"] += 1

    async def _half_header(self, random: Random) -> None:
        talk = await self._dial(self._ports.announced, TRUSTED)
        await talk.write(header(random)[: random.randint(1, 12)])
        await self._until_closed(talk, HEADER_TIMEOUT)
        self._ledger.refused["proxy_header_timeout"] += 1

    async def _late_payload(self, random: Random) -> None:
        """No header, and first bytes later than a header may be: a direct client."""
        talk = await self._dial(self._ports.announced, TRUSTED, self._ledger.moved["announced"])
        self._ledger.opened["announced"] += 1
        try:
            await asyncio.sleep(HEADER_TIMEOUT + random.uniform(*_LATE))
            await converse(talk, Order(random.randint(0, 2000), random.randint(0, 2000)))
        finally:
            await talk.close()

    # -- others ------------------------------------------------------------------------------------------

    async def _stubborn(self, random: Random) -> None:
        """A handler that catches everything: the client resets, half-closes, or waits. The API may end it."""
        talk = await self._dial(self._ports.stubborn, source(random))
        what = random.choice((talk.reset, talk.writer.write_eof, lambda: talk.writer.write(b"x")))
        try:
            await talk.write(b"x" * random.randint(0, 1))
            await asyncio.sleep(random.uniform(0, 0.4))
            what()
            heard: bytes = b"" if what == talk.reset else await talk.reader.read()
        except OSError:  # the API has ended it
            heard = b""
        finally:
            await talk.close()
        if heard not in {b"", LATE_ANSWER}:
            raise CorruptError(f"answered {heard[:40]!r}")

    async def _slow_metrics(self, random: Random) -> None:
        """Ask for pages of metrics and read a part of them, slowly."""
        reader, writer = await connect(self._admin, HOST, receive_buffer=4096)
        talk = Talk(reader, writer, {"received": 0, "sent": 0})
        try:
            await talk.write(f"GET /metrics HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode() * _PAGES)
            for _ in range(random.randint(10, 60)):
                await talk.read(2048)
                await asyncio.sleep(0.1)
        finally:
            (talk.reset if random.random() < 0.5 else talk.writer.close)()

    async def _dial(self, port: int, address: str, moved: dict[str, int] | None = None) -> Talk:
        reader, writer = await connect(port, address)
        return Talk(reader, writer, {"received": 0, "sent": 0} if moved is None else moved)

    async def _until_closed(self, talk: Talk, due: float) -> None:
        """Wait until the proxy closes.

        :param due: seconds in which it must.
        :raises CorruptError: if it does not.
        """
        try:
            async with asyncio.timeout(due + _SLACK):
                await talk.reader.read()
        except ConnectionError:
            pass
        except TimeoutError:
            raise CorruptError(f"not closed within {due:.0f} s") from None
        finally:
            await talk.close()
