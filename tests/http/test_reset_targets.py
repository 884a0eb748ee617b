"""A target that resets its connection behind an answer that was not read yet, over real sockets."""

from __future__ import annotations

from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.flow.side import Side
from smartproxy.http.upstream1 import HttpUpstream
from smartproxy.net.stream import Stream
from tests.pumps import Pump


class ResetTargetTests(SynchronousTestCase):
    def test_answer_is_still_read_where_the_reset_came_while_the_client_did_not_read(self):
        pump = Pump(self)
        sock, target = pump.connection()
        side = Side()
        side.makeConnection(Stream(sock, pump.poller, side))
        upstream = HttpUpstream(SimpleNamespace(side=side, reader=None))
        received, lost = [], []
        side.receiver = SimpleNamespace(data_received=received.append, lost=lost.append)
        upstream.pause()
        target.write(b"HTTP/1.1 200 OK\r\n\r\n")
        pump.settle()
        target.rst()
        pump.settle()
        self.assertEqual((received, lost), ([], []))
        upstream.resume()
        pump.settle()
        self.assertEqual((received, len(lost)), ([b"HTTP/1.1 200 OK\r\n\r\n"], 1))
