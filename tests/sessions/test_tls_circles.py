"""A closed TLS connection is freed by reference counting, without the cyclic garbage collector: it holds much memory."""

from __future__ import annotations

import gc

from smartproxy.tls.channel import Channel
from smartproxy.tls.transport import TlsTransport
from tests.sessions.tls_case import REQUEST, TlsTestCase
from tests.tls.made import Authority
from tests.tls.talk import client

_LARGE = (Channel, TlsTransport)


def _large():
    return [each for each in gc.get_objects() if isinstance(each, _LARGE)]


async def answered(exchange):
    if exchange.upgrade_to:
        await exchange.upgrade().read()
    else:
        await exchange.respond(200, body=await exchange.read())


class ReferenceCycleTests(TlsTestCase):
    def setUp(self):
        super().setUp()
        inspecting = self.route("inspecting", match={"path": "/*", "ports": 444})
        client_auth = {
            "mode": "terminate", "certificate": self.certificate, "clientAuth": {"mode": "require", "ca": self.ca},
        }  # fmt: skip
        onward = {
            "mode": "terminate-and-reencrypt", "certificate": self.certificate,
            "upstream": {"ca": self.ca, "serverName": "b.example"},
        }  # fmt: skip
        served = {"type": "respond", "response": {"status": 200, "body": "served"}}
        self.start(
            self.route(), inspecting, self.route("asking", match={"ports": 445}, tls=client_auth),
            self.route("onward", match={"ports": 446}, tls=onward),
            self.route("served", match={"ports": 447}, action=served),
            self.route("handled", match={"ports": 448}, action={"type": "handler", "handler": "tests.sessions.test_tls_circles:answered"}),
        )  # fmt: skip
        gc.collect()
        self.others = _large()  # objects of other tests
        gc.disable()
        self.addCleanup(gc.enable)

    def open(self, port=443, name="a.example"):
        end = self.within(self.network.connect(port), client(self.authority, name))
        self.settle()
        return end

    def assert_freed(self):
        self.settle()
        self.network.run(5)
        self.assertEqual(self.proxy.connections, [])
        self.assertEqual([each for each in _large() if each not in self.others], [])

    def test_freed_after_a_clean_end(self):
        end = self.open()
        end.write(b"ask")
        self.settle()
        self.backend.connections[-1].write(b"answer")
        self.backend.connections[-1].fin()
        end.fin()
        self.assert_freed()

    def test_freed_after_a_reset(self):
        for by_client in (True, False):
            end = self.open()
            end.write(b"ask")
            self.settle()
            (end.below if by_client else self.backend.connections[-1]).rst()
            self.assert_freed()

    def test_freed_after_an_undecryptable_record(self):
        end = self.open()
        end.below.write(b"\x17\x03\x03\x00\x40" + bytes(64))
        self.assert_freed()

    def test_freed_after_detection_within_tls(self):
        end = self.open(444)
        end.write(REQUEST)
        self.settle()
        self.backend.connections[-1].fin()
        end.fin()
        self.assert_freed()

    def test_freed_after_a_refusal_within_tls(self):
        end = self.open(444)
        end.write(b"EHLO\r\n")
        self.settle()
        end.close()
        self.assert_freed()

    def test_freed_after_a_respond_action(self):
        end = self.open(447)
        end.write(REQUEST)
        self.settle()
        end.close()
        self.assert_freed()

    def test_freed_after_a_request_to_a_handler(self):
        upgrade = b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
        for asked in (REQUEST, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", upgrade):
            end = self.open(448)
            end.write(asked)
            self.settle()
            end.close()
            self.assert_freed()

    def test_freed_after_a_failed_handshake(self):
        for port, name in ((443, "b.example"), (445, "a.example")):
            with self.subTest(port=port):
                self.open(port, name).below.close()
                self.assert_freed()

    def test_freed_after_a_disconnect_in_the_handshake(self):
        for leave in ("fin", "rst"):
            with self.subTest(leave=leave):
                below = self.network.connect(443)
                below.write(b"\x16\x03\x01")
                self.settle()
                getattr(below, leave)()
                self.assert_freed()

    def test_freed_after_a_target_with_tls(self):
        end = self.open(446)
        target = self.target("b.example")
        end.write(b"ask")
        self.settle()
        target.write(b"answer")
        target.fin()
        end.fin()
        self.settle()
        target.below.close()
        self.assert_freed()

    def test_freed_after_a_target_with_the_wrong_certificate(self):
        for leaf in (self.authority.leaf("c.example"), Authority("another").leaf("b.example")):
            end = self.open(446)
            self.target(leaf=leaf)
            end.below.close()
            self.assert_freed()

    def test_freed_after_a_target_without_tls(self):
        end = self.open(446)
        self.backend.connections[-1].write(b"220 ready\r\n")
        self.settle()
        end.below.close()
        self.assert_freed()
