"""A whole proxy that staples: from the question to the responder to what a client is shown and a person is told."""

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
        """The responder's answer to the only question, sent."""
        [asked] = responder.connections
        self.assertIn(b"\r\nHost: ocsp.example\r\n", asked.received)
        der = Responder(self.authority).answer(self.leaf)
        asked.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(der), der))
        self.network.settle()
        return der

    def stapled(self):
        """What a new client is stapled, once it has been served."""
        told = []
        context = client_context(self.authority)
        context.set_ocsp_client_callback(lambda _connection, data, _: told.append(data) or True)
        end = self.within(self.network.connect(443), _asking(context))
        self.settle()
        end.write(b"hello")
        self.settle()
        self.assertEqual(self.backend.connections[-1].received, b"hello")
        return told[0] if told else b""

    def told(self):
        [shown] = self.proxy.certificates()
        return shown.ocsp

    def test_the_responder_is_asked_and_its_answer_is_shown(self):
        responder = self.network.backend(*RESPONDER)
        self.run_proxy()
        der = self.answer(responder)
        self.assertEqual(self.stapled(), der)
        self.assertEqual(self.told().status, "good")

    def test_a_change_of_routes_keeps_the_answer(self):
        responder = self.network.backend(*RESPONDER)
        self.run_proxy()
        der = self.answer(responder)
        self.network.result(self.proxy.replace_routes([self.route("other")]))
        self.assertEqual(self.stapled(), der)
        self.assertEqual(len(responder.connections), 1)

    def test_one_that_is_not_there_or_does_not_answer_holds_up_nobody(self):
        for silent in (False, True):
            if silent:
                self.network.silent.add(RESPONDER)
            self.run_proxy()
            self.assertEqual(self.stapled(), b"")
            self.network.run(TIMEOUT + 1)
            self.assertEqual(self.told().status, "failed")
            self.assertEqual(self.stapled(), b"")
            self.network.stop(self.proxy)

    def test_stopped_in_the_middle_of_a_question_nothing_is_left(self):
        responder = self.network.backend(*RESPONDER)
        self.run_proxy()
        self.network.stop(self.proxy)
        self.network.settle()
        self.assertTrue(responder.connections[0].ended or responder.connections[0].was_reset)
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_where_it_is_off_nobody_is_asked(self):
        responder = self.network.backend(*RESPONDER)
        self.run_proxy(ocspStapling=False)
        self.network.run(10)
        self.assertEqual(responder.connections, [])
        self.assertEqual((self.stapled(), self.told().status), (b"", "none"))


def _asking(context):
    made = client(context=context)
    made.request_ocsp()
    return made
