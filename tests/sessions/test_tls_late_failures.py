"""TLS of a target that fails after the handshake: a 502 where that is possible, and a log line with the route."""

from __future__ import annotations

import gc
from pathlib import Path

from OpenSSL import SSL
from twisted.logger import capturedLogs, formatEvent

from smartproxy.model.outcome import CloseReason
from smartproxy.tls.channel import Channel
from smartproxy.wire import tls_alert
from tests.sessions.tls_case import REQUEST, TlsTestCase


class LateFailureTests(TlsTestCase):
    """A target of TLS 1.3 refuses our certificate, or that we have none, after the handshake as we see it."""

    def refusing(self):
        """The target's TLS with its latest connection: it wants a certificate."""
        leaf = self.authority.leaf("b.example")
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(leaf.certificate)
        context.use_privatekey(leaf.key)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: False)
        connection = SSL.Connection(context, None)
        connection.set_accept_state()
        end = self.within(self.backend.connections[-1], connection)
        self.settle()
        return end

    def upstream(self, **more):
        return {"ca": self.ca, "serverName": "b.example"} | more

    def begin(self, *, match=None, tls=None, **more):
        self.start(
            self.route(
                match={"domains": ["a.example"]} if match is None else match,
                tls=tls or {"mode": "passthrough"},
                target={"tls": self.upstream(**more)},
            )
        )

    def test_an_http_client_gets_a_502(self):
        self.begin()
        below = self.network.connect(443)
        below.write(REQUEST)
        self.settle()
        with capturedLogs() as logged:
            self.refusing()
        self.assertTrue(below.received.startswith(b"HTTP/1.1 502 "), below.received)
        self.assertTrue(below.ended)
        self.assertEqual(self.rejected(), {"tls_error": 1})
        lines = [formatEvent(event) for event in logged]
        self.assertIn(
            "route web: TLS with 10.0.0.1:9000 failed after the handshake: tlsv13 alert certificate required",
            lines,
        )
        self.assertEqual(self.proxy.connections, [])

    def test_a_certificate_that_the_target_does_not_take_is_a_502(self):
        own = self.authority.leaf("proxy", client=True)
        file = Path(self.mktemp())
        file.write_bytes(own.pem + own.key_pem)
        self.begin(certFile=str(file.absolute()))
        below = self.network.connect(443)
        below.write(REQUEST)
        self.settle()
        self.refusing()
        self.assertTrue(below.received.startswith(b"HTTP/1.1 502 "), below.received)

    def test_within_the_tls_of_the_client_it_is_a_502_too(self):
        """Whether its request was looked at, or only handed on."""
        tls = {"mode": "terminate", "certificate": self.certificate}
        for match in ({"domains": ["a.example"]}, {"path": "/api"}):
            self.begin(match=match, tls=tls)
            end = self.connect()
            end.write(REQUEST)
            self.settle()
            self.refusing()
            self.assertTrue(end.received.startswith(b"HTTP/1.1 502 "), (match, end.received))
            self.assertEqual(end.ended, "domains" in match)  # where requests are read, another one may follow
            self.network.stop(self.proxy)

    def test_a_client_of_another_protocol_is_reset(self):
        """A FIN would look like an answer of no bytes."""
        self.begin(match={})
        below = self.network.connect(443)
        below.write(b"EHLO a.example\r\n")
        self.settle()
        self.refusing()
        self.assertEqual((below.received, below.was_reset), (b"", True))
        self.assertEqual(self.rejected(), {"tls_error": 1})

    def test_a_client_whose_tls_passes_through_gets_an_alert(self):
        self.begin()
        end = self.connect()
        self.refusing()
        self.assertEqual(end.below.received, tls_alert.build(tls_alert.Alert.INTERNAL_ERROR))
        self.assertEqual(self.rejected(), {"tls_error": 1})

    def test_a_target_that_ends_tls_in_order_is_no_failure(self):
        """Or one that is reset: what it did is passed on."""
        for end_target in (lambda target: target.fin(), lambda target: target.rst()):
            self.begin()
            below = self.network.connect(443)
            below.write(REQUEST)
            self.settle()
            end_target(self.target("b.example"))
            self.settle()
            self.assertEqual((below.received, self.rejected()), (b"", {}))
            self.network.stop(self.proxy)

    def test_what_is_no_tls_before_an_answer_is_a_502(self):
        self.begin()
        below = self.network.connect(443)
        below.write(REQUEST)
        self.settle()
        self.target("b.example").below.write(b"HTTP/1.1 200 OK\r\n\r\n")
        self.settle()
        self.assertTrue(below.received.startswith(b"HTTP/1.1 502 "), below.received)

    def test_after_a_byte_of_the_answer_it_is_a_cut_and_logged(self):
        """What the client has must not look like the whole."""
        self.begin()
        below = self.network.connect(443)
        below.write(REQUEST)
        self.settle()
        target = self.target("b.example")
        target.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        self.settle()
        with capturedLogs() as logged:
            target.below.write(tls_alert.build(tls_alert.Alert.INTERNAL_ERROR))
            self.settle()
        self.assertTrue(below.was_reset)
        self.assertTrue(below.received.endswith(b"half"))
        self.assertEqual(self.rejected(), {})
        self.assertEqual(self.proxy.counters.route("web").closed[CloseReason.UPSTREAM_RESET], 1)
        [line] = [formatEvent(event) for event in logged]
        self.assertTrue(line.startswith("route web: TLS with 10.0.0.1:9000 failed after the handshake: "))

    def test_a_client_that_goes_on_sending_reads_its_502(self):
        """Its connection is read, or the bytes that nobody has read would make the kernel reset it."""
        self.begin()
        below = self.network.connect(443)
        below.write(REQUEST)
        self.settle()
        self.refusing()
        below.write(bytes(100_000))
        self.settle()
        self.assertEqual((below.waiting, below.was_reset), (0, False))

    def test_nothing_is_left_without_the_garbage_collector(self):
        tls = {"mode": "terminate", "certificate": self.certificate}
        self.begin(tls=tls)
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        others = {id(each) for each in gc.get_objects() if isinstance(each, Channel)}
        end = self.connect()
        end.write(REQUEST)
        self.settle()
        self.refusing()
        end.close()
        self.settle()
        self.network.run(5)
        left = [each for each in gc.get_objects() if isinstance(each, Channel) and id(each) not in others]
        self.assertEqual(left, [])
