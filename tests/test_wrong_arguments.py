"""Arguments of a wrong type in the Python API: each is refused where it is given, with the name of what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from smartproxy import (
    Action,
    ConfigurationError,
    Connection,
    Exchange,
    Match,
    Refused,
    Route,
    Settings,
    certificate_from_pem,
    http_respond,
    self_signed_certificate,
)
from smartproxy.testing import MemoryNetwork

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TEXT: Any = "red.apps.example"
BYTES: Any = b"routes: []"
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def writer_of(data: Any) -> Callable[[Connection], Awaitable[None]]:
    """A handler that writes ``data``."""

    async def write(connection: Connection) -> None:
        await connection.write(data)

    return write


async def answer_with_text_as_status(exchange: Exchange) -> None:
    """A handler with a mistake."""
    status: Any = "200"
    await exchange.respond(status, {}, b"hello")


def failure_of(test: SynchronousTestCase, action: Action, sent: bytes) -> str:
    """What is logged of the handler of ``action`` when a client has sent ``sent``."""
    network = MemoryNetwork()
    proxy = network.start(Settings(routes=[Route(name="web", match=Match(ports=80), action=action)]))
    client = network.connect(80)
    client.write(sent)
    network.settle()
    client.close()
    network.stop(proxy)
    (failure,) = test.flushLoggedErrors()
    return failure.getErrorMessage()


class WrongArgumentsTests(SynchronousTestCase):
    def _assert_refused(self, message: str, function: Callable[..., object], *arguments: object) -> None:
        self.assertEqual(str(self.assertRaises(TypeError, function, *arguments)), message)

    def test_one_name_is_no_list_of_names(self) -> None:
        """Its letters would be the names of the certificate."""
        self._assert_refused(
            "names must be a list of names: write ['red.apps.example']", self_signed_certificate, TEXT
        )

    def test_a_certificate_is_bytes(self) -> None:
        self._assert_refused("chain must be bytes (got str)", certificate_from_pem, TEXT, b"")
        self._assert_refused("key must be bytes (got str)", certificate_from_pem, b"", TEXT)
        self._assert_refused("secret must be bytes (got str)", certificate_from_pem, b"", b"", TEXT)

    def test_a_body_is_bytes(self) -> None:
        self._assert_refused("a body must be bytes (got str)", http_respond, TEXT)

    def test_a_reason_is_a_reject_reason(self) -> None:
        self._assert_refused(
            "reason must be a RejectReason, like RejectReason.NO_ROUTE (got 'red.apps.example')",
            Refused,
            TEXT,
        )

    def test_a_configuration_is_text(self) -> None:
        self._assert_refused("text must be a str (got bytes)", Settings.parse, BYTES, "yaml")

    def test_a_connection_is_written_bytes(self) -> None:
        for written, kind in (("hello", "str"), (5, "int")):
            told = failure_of(self, Action(type="handler", handler=writer_of(written)), b"x")
            self.assertEqual(told, f"data must be bytes (got {kind})")

    def test_a_status_is_a_number(self) -> None:
        """The message shows the quotes: "(got 200)" would be no mistake."""
        told = failure_of(self, Action(type="handler", handler=answer_with_text_as_status), REQUEST)
        self.assertEqual(told, "status must be 200 to 599 (got '200')")

    def test_an_object_that_is_no_handler_is_not_taken_for_a_name_in_a_file(self) -> None:
        error = self.assertRaises(ConfigurationError, Action, type="handler", handler=Protocol())
        self.assertIn("handler: is not a handler: neither a callable nor a protocol factory", str(error))
