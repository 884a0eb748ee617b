"""Bodies that are views of memory: a length is one of bytes, and not of items."""

from __future__ import annotations

from array import array

from smartproxy import http_respond
from tests.http.local.case import HandlerCase


class MemoryviewTests(HandlerCase):
    """A body may be any buffer: its items may be larger than a byte, and not be side by side."""

    numbers = memoryview(array("I", [1, 2, 3]))
    buffers = (
        (numbers, numbers.tobytes()),
        (memoryview(b"abcdef")[::2], b"ace"),
        (memoryview(bytes(range(12))).cast("B", (3, 4)), bytes(range(12))),
        (memoryview(b"x").cast("c"), b"x"),
        (memoryview(b"xyz!").cast("I").cast("B").cast("I", ()), b"xyz!"),
        (memoryview(array("I")), b""),
    )

    def test_its_length_is_that_of_its_bytes(self):
        """What follows 3 of the 12 bytes would be taken for the next answer."""
        for body, expected in self.buffers:

            async def answer(exchange, body=body):
                await exchange.respond(200, {}, body)

            self.handle(answer)
            got = self.ask()
            self.assertEqual((got.status, got.content_length, got.body), (200, str(len(expected)), expected))

    def test_the_length_of_a_chunk_is_that_of_its_bytes(self):
        for body, expected in self.buffers:

            async def pieces(body=body):
                yield body

            async def answer(exchange, pieces=pieces):
                await exchange.respond(200, {}, pieces())

            self.handle(answer)
            chunk = b"%x\r\n%b\r\n" % (len(expected), expected) if expected else b""
            self.assertEqual(self.ask().body, chunk + b"0\r\n\r\n")

    def test_a_length_that_is_announced_is_one_of_bytes(self):
        async def pieces():
            yield self.numbers

        async def answer(exchange):
            await exchange.respond(200, {"Content-Length": "12"}, pieces())

        self.handle(answer)
        self.assertEqual(self.ask().body, self.numbers.tobytes())

    def test_a_fixed_response_has_the_length_of_its_bytes(self):
        for body, expected in self.buffers:
            self.handle(http_respond(body))
            got = self.ask()
            self.assertEqual((got.content_length, got.body), (str(len(expected)), expected))
