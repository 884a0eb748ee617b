"""What a connection keeps in memory while it waits for another request, or is a tunnel."""

from __future__ import annotations

import gc

from smartproxy.model.exchange import Exchange
from tests.http.case import OK, HttpCase

REQUEST = b"GET /a HTTP/1.1\r\nHost: a.test\r\nCookie: %b\r\n\r\n" % (b"c" * 60_000)


def held(kind):
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, kind)]


class KeptTests(HttpCase):
    def test_an_idle_connection_to_a_target_keeps_no_request(self):
        self.exchange(self.connect(), REQUEST)
        self.assertEqual(len(self.proxy._runtime.targets.pool), 1)
        self.network.run(3)  # the dial is not watched any more
        self.assertEqual(held(Exchange), [])

    def test_it_carries_the_next_request(self):
        for _ in range(2):
            client = self.connect()
            self.assertEqual(self.exchange(client, REQUEST), OK)
            client.fin()
            self.network.settle()
        self.assertEqual(len(self.backend.connections), 1)
