"""OCSP stapling of a whole proxy: the request, the response stapled for clients, and the status shown."""

from __future__ import annotations

from smartproxy.tls.ocsp.fetch import TIMEOUT
from tests.sessions.tls_case import TlsTestCase
from tests.tls.responders import Responder
from tests.tls.talk import client, client_context

RESPONDER = ("192.0.2.80", 80)


class StaplingTests(TlsTestCase):
    def setUp(self):
        super().setUp()
        self.leaf = self.authority.leaf("a.example", ocsp="http://ocsp.example/")
        self.network.names["ocsp.example"] = [RESPONDER[0]]

    @property
    def certificate(self):
        return {"cert": self.leaf.pem.decode(), "key": self.leaf.key_pem.decode()}

    def run_proxy(self, **tls):
        self.start(self.route(), tls=tls)
        self.network.settle()

    def answer(self, responder):
        """Answer the only request to the responder; the response in DER."""
        [request] = responder.connections
        self.assertIn(b"\r\nHost: ocsp.example\r\n", request.received)
        der = Responder(self.authority).answer(self.leaf)
        request.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(der), der))
        self.network.settle()
        return der

    def stapled(self):
        """The response stapled for a new client, which is also served."""
        shown = []
        context = client_context(self.authority)
        context.set_ocsp_client_callback(lambda _connection, data, _: shown.append(data) or True)
        end = self.within(self.network.connect(443), _client_with_status_request(context))
        self.settle()
        end.write(b"hello")
        self.settle()
        self.assertEqual(self.backend.connections[-1].received, b"hello")
        return shown[0] if shown else b""

    def shown(self):
        [shown] = self.proxy.certificates()
        return shown.ocsp

    def test_response_is_fetched_stapled_and_shown(self):
        responder = self.network.backend(*RESPONDER)
        self.run_proxy()
        der = self.answer(responder)
        self.assertEqual(self.stapled(), der)
        self.assertEqual(self.shown().status, "good")

    def test_change_of_routes_keeps_the_response(self):
        responder = self.network.backend(*RESPONDER)
        self.run_proxy()
        der = self.answer(responder)
        self.network.result(self.proxy.replace_routes([self.route("other")]))
        self.assertEqual(self.stapled(), der)
        self.assertEqual(len(responder.connections), 1)

    def test_dead_or_silent_responder_delays_no_client(self):
        for silent in (False, True):
            if silent:
                self.network.silent.add(RESPONDER)
            self.run_proxy()
            self.assertEqual(self.stapled(), b"")
            self.network.run(TIMEOUT + 1)
            self.assertEqual(self.shown().status, "failed")
            self.assertEqual(self.stapled(), b"")
            self.network.stop(self.proxy)

    def test_stop_during_a_request_leaves_nothing(self):
        responder = self.network.backend(*RESPONDER)
        self.run_proxy()
        self.network.stop(self.proxy)
        self.network.settle()
        self.assertTrue(responder.connections[0].ended or responder.connections[0].was_reset)
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_responder_is_not_queried_where_stapling_is_off(self):
        responder = self.network.backend(*RESPONDER)
        self.run_proxy(ocspStapling=False)
        self.network.run(10)
        self.assertEqual(responder.connections, [])
        self.assertEqual((self.stapled(), self.shown().status), (b"", "none"))


def _client_with_status_request(context):
    made = client(context=context)
    made.request_ocsp()
    return made
