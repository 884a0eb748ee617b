"""Bulk transfers in both directions: by iperf3, and by peers that know every byte they sent."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading

from tests.live.backends import collect, read_to_end
from tests.live.case import LiveCase, route
from tests.live.programs import needed, run
from tests.live.waiting import until

#: Bytes per second that even a busy machine must reach.
_NOT_A_TRICKLE = 20_000_000
#: Bytes: no multiple of a buffer's size, and more than all buffers between the peers hold together.
_UP, _DOWN = 24 * 1024 * 1024 + 7919, 16 * 1024 * 1024 + 104729


class IperfTests(LiveCase):
    def test_iperf3_transfers_in_both_directions_are_counted(self):
        """The proxy counts at least what iperf3 reports as received; iperf3 ends without reading the last bytes."""
        program = needed("iperf3")
        behind = self.port()
        self.program(program, "-s", "-B", "127.0.0.1", "-p", behind).listens(behind)
        for relay, proxy, front in self.each_relay({"host": "127.0.0.1", "port": behind}):
            for direction, options in enumerate(((), ("-R",))):
                with self.subTest(relay=relay, options=options):
                    before = proxy.moved[direction]
                    done = run(program, "-c", "127.0.0.1", "-p", front, "-t", "1", "-J", *options)
                    self.assertEqual(done.returncode, 0, done.stdout)
                    proxy.emptied()
                    received = json.loads(done.stdout)["end"]["sum_received"]["bytes"]
                    self.assertGreater(received, _NOT_A_TRICKLE)
                    self.assertGreaterEqual(proxy.moved[direction] - before, received)


def _both_ways(backend, sock):
    """Send ``_DOWN`` bytes while reading to the end; store the checksums of both directions."""
    down = os.urandom(1 << 20) * (_DOWN // (1 << 20) + 1)
    sending = threading.Thread(target=_send, args=(sock, down[:_DOWN]))
    sending.start()
    got = read_to_end(sock)
    sending.join()
    backend.seen.append((len(got), _sum(got), _sum(down[:_DOWN])))


def _send(sock, data):
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def _sum(data):
    return hashlib.sha256(data).hexdigest()


class ExactTests(LiveCase):
    """After a clean close, ``received`` is what the backend read and ``sent`` what it wrote, to the byte."""

    def test_simultaneous_transfers_are_intact_and_counted(self):
        backend = self.backend(_both_ways)
        up = os.urandom(_UP)
        for relay, proxy, front in self.each_relay(backend):
            with self.subTest(relay=relay):
                backend.seen.clear()
                down = self.exchange(proxy, front, relay, up)
                ((count, up_sum, down_sum),) = until(lambda: backend.seen, "the backend's sums")
                self.assertEqual((count, up_sum), (_UP, _sum(up)))
                self.assertEqual((len(down), _sum(down)), (_DOWN, down_sum))
                self.assertEqual(proxy.moved, (_UP, _DOWN))
                self.assertEqual(proxy.closed("normal"), 1)

    def exchange(self, proxy, front, relay, up):
        """Send ``up``, and return what is received meanwhile."""
        client = self.connect(front)
        proxy.the_connection(relay=relay, state="relaying")
        sending = threading.Thread(target=_send, args=(client, up))
        sending.start()
        down = read_to_end(client)
        sending.join()
        client.close()
        proxy.emptied()
        return down

    def test_proxy_headers_are_not_counted(self):
        """Neither the PROXY header that came in nor the one that went out is payload."""
        backend = self.backend(collect)
        front = self.port()
        sending = {"version": 2, "tlvs": ["uniqueId", "crc32c"]}
        proxy = self.proxy(
            route("bulk", front, backend, action={"sendProxyProtocol": sending}), proxyIPs=["127.0.0.1"]
        )
        client = self.connect(front)
        client.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
        client.sendall(b"twelve bytes")
        client.shutdown(socket.SHUT_WR)
        answer = read_to_end(client)
        proxy.emptied()
        (got,) = backend.seen
        self.assertTrue(got.endswith(b"twelve bytes"))
        self.assertEqual(proxy.moved, (12, len(answer)))

    def test_totals_are_updated_during_a_transfer(self):
        """A long connection must show in the metrics before it ends."""
        backend = self.backend(collect)
        front = self.port()
        proxy = self.proxy(route("bulk", front, backend))
        client = self.connect(front)
        client.sendall(b"x" * 100_000)
        until(lambda: proxy.moved == (100_000, 0), "what was sent, counted")
        self.assertEqual(proxy.the_connection(route="bulk")["bytesReceived"], 100_000)
