"""Addresses of listeners that a reload changes on the same port, with sockets of the kernel."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys

from twisted.internet import reactor
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from smartproxy import Route, Settings, SmartProxy
from smartproxy.serving.ready import echo
from tests.ports import free_ports
from tests.reactors import watch_no_descriptors

#: Listens as another program does that knows of SO_REUSEPORT, and says so.
_OTHER = """
import socket, sys
other = socket.socket()
other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
other.bind(("127.0.0.1", int(sys.argv[1])))
other.listen()
print("listening", flush=True)
sys.stdin.read()
"""


def on(*addresses, port):
    """One route for each address."""
    return [
        Route(
            name=f"on {address or 'all'}, {port}",
            match={"ports": port, "address": address},
            action={"type": "handler", "handler": echo},
        )
        for address in addresses
    ]


class AddressTests(TestCase):
    """Each test runs with the poller's ports and with those of the reactor."""

    timeout = 60

    def start(self, *addresses, poller=True, grace=0):
        if not poller:
            watch_no_descriptors(self)
        self.proxy = SmartProxy(
            Settings(routes=on(*addresses, port=self.port), graceful_shutdown_timeout=grace), reactor
        )
        self.proxy.startService()
        self.addCleanup(self.proxy.stopService)

    def setUp(self):
        (self.port,) = free_ports(1)
        self.clients = []
        self.addCleanup(lambda: [client.close() for client in self.clients])

    def connect(self, address="127.0.0.1"):
        """The kernel completes the connection; the reactor has not run, so the proxy has not accepted it."""
        client = socket.create_connection((address, self.port), timeout=10)
        self.clients.append(client)
        client.sendall(b"hello")
        return client

    async def echoed(self, client):
        """What the proxy has echoed; ``None`` where it has reset the connection."""
        client.setblocking(False)
        for _ in range(200):
            try:
                return client.recv(100)
            except BlockingIOError:
                await deferLater(reactor, 0.02)
            except ConnectionError:
                return None
        return b"nothing"

    async def change(self, *addresses):
        """Change the addresses, with connections completed before it that the proxy has not accepted."""
        waiting = [self.connect() for _ in range(5)]
        changed = self.proxy.update_routes(on(*addresses, port=self.port))
        waiting += [self.connect() for _ in range(5)]
        await changed
        waiting.append(self.connect())
        for client in waiting:
            self.assertEqual(await self.echoed(client), b"hello", (waiting.index(client), addresses))
        self.assertEqual(
            sorted(address for address, _ in self.proxy.addresses()),
            sorted({"" if address == "::" else address for address in addresses}),
        )

    def route_of(self, client):
        """The route of the client that has connected last; one to another address may have the same port number."""
        peer = client.getsockname()[1]
        route = next(one.route for one in reversed(list(self.proxy.connections)) if one.peer.port == peer)
        return route.partition(",")[0]

    async def check(self, first, *changes):
        for poller in (True, False):
            self.port = free_ports(1)[0]
            self.start(*first, poller=poller)
            for addresses in changes:
                await self.change(*addresses)

    async def test_every_address_is_narrowed_to_one(self):
        await self.check([""], ["127.0.0.1"])
        self.assertRaises(ConnectionRefusedError, self.connect, "127.0.0.2")

    async def test_one_address_is_widened_to_every(self):
        await self.check(["127.0.0.1"], [""])
        client = self.connect("127.0.0.2")
        self.assertEqual(await self.echoed(client), b"hello")
        self.assertEqual(self.route_of(client), "on all")

    async def test_an_address_is_added_beside_one_and_removed(self):
        await self.check(["127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.1"])
        self.assertRaises(ConnectionRefusedError, self.connect, "127.0.0.2")

    async def test_an_address_is_added_beside_every(self):
        """The more specific listener gets the connections of its address."""
        await self.check([""], ["", "127.0.0.2"])
        for address, route in (("127.0.0.2", "on 127.0.0.2"), ("127.0.0.3", "on all")):
            client = self.connect(address)
            self.assertEqual(await self.echoed(client), b"hello")
            self.assertEqual(self.route_of(client), route)

    async def test_every_ipv4_address_and_ipv6(self):
        await self.check(["0.0.0.0"], [""], ["0.0.0.0", "::1"], ["::", "127.0.0.1"], ["::"])

    async def test_there_and_back_again(self):
        await self.check(
            [""], ["127.0.0.1"], [""], ["127.0.0.1", ""], ["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]
        )

    async def test_after_widening_the_wide_routes_get_the_narrow_address(self):
        """The socket of 127.0.0.1 stays open, and must not keep the routes of its former listener."""
        await self.check(["127.0.0.1"], [""])
        client = self.connect()
        await self.echoed(client)
        self.assertEqual(self.route_of(client), "on all")

    async def test_a_widened_listener_that_is_removed_is_closed_on_every_address(self):
        await self.check(["127.0.0.1"], [""])
        old, self.port = self.port, free_ports(1)[0]
        await self.proxy.update_routes(on("", port=self.port))
        for address in ("127.0.0.1", "127.0.0.2"):
            self.assertRaises(ConnectionRefusedError, socket.create_connection, (address, old))

    async def test_a_connection_waiting_at_a_removed_route_ends_with_it(self):
        """It is accepted when the port is closed: after the reload, and must not outlive the route for ever."""
        for poller in (True, False):
            (self.port,) = free_ports(1)
            self.start("", poller=poller, grace="1s")
            client = self.connect()
            began = reactor.seconds()
            await self.proxy.update_routes(on("", port=free_ports(1)[0]))
            self.assertEqual(await self.echoed(client), b"hello")
            self.assertIsNone(await self.echoed(client))
            self.assertGreater(reactor.seconds() - began, 1)

    async def test_a_port_of_another_process_is_refused_and_nothing_changes(self):
        """Also where the other one would share its port (SO_REUSEPORT), while we share one of ours."""
        for poller in (True, False):
            self.port, taken = free_ports(2)
            self.other(taken)
            self.start("", poller=poller)
            before = self.proxy.addresses()
            waiting = [self.connect() for _ in range(5)]
            routes = [*on("127.0.0.1", port=self.port), *on("127.0.0.1", port=taken)]
            failed = await self.assertFailure(self.proxy.update_routes(routes), CannotListenError)
            self.assertEqual((failed.interface, failed.port), ("127.0.0.1", taken))
            self.assertEqual(failed.socketError.errno, errno.EADDRINUSE)
            self.assertEqual(self.proxy.addresses(), before)
            waiting += [self.connect(), self.connect("127.0.0.2")]
            for client in waiting:
                self.assertEqual(await self.echoed(client), b"hello")
                self.assertEqual(self.route_of(client), "on all")

    def other(self, port):
        """Another process listens on ``port``."""
        other = subprocess.Popen(
            [sys.executable, "-c", _OTHER, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.addCleanup(other.communicate)
        self.assertEqual(other.stdout.readline(), b"listening\n")

    async def test_an_address_of_another_host_is_refused(self):
        self.start("127.0.0.1")
        failed = await self.assertFailure(
            self.proxy.update_routes(on("192.0.2.1", port=self.port)), CannotListenError
        )
        self.assertEqual(failed.socketError.errno, errno.EADDRNOTAVAIL)
        self.assertEqual(await self.echoed(self.connect()), b"hello")

    async def test_a_second_instance_cannot_bind(self):
        """Also where addresses overlap, and after a reload has changed them."""
        for poller in (True, False):
            for addresses in (["127.0.0.1"], [""], ["", "127.0.0.1"]):
                self.port = free_ports(1)[0]
                self.start(*addresses, poller=poller)
                self.refuse_second(addresses)
                await self.change("127.0.0.1", "")
                self.refuse_second(["", "127.0.0.1"])
                await self.change("127.0.0.1")
                self.refuse_second(["127.0.0.1"])
                self.refuse_second([""])

    def refuse_second(self, addresses):
        second = SmartProxy(Settings(routes=on(*addresses, port=self.port)), reactor)
        self.assertRaises(CannotListenError, second.startService)
