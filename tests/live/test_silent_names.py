"""Names whose servers do not answer, in a program on the real reactor: nothing else waits, and the program ends."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from tests.live.programs import environment, run
from tests.ports import free_ports

#: More than the ten threads of Twisted's reactor.
SILENT = 24

PROGRAM = f"""
import socket, sys, threading

real = socket.getaddrinfo

def getaddrinfo(name, *question, **more):
    if name.startswith("silent"):
        threading.Event().wait()
    return real(name, *question, **more)

socket.getaddrinfo = getaddrinfo  # before Twisted imports it

from twisted.internet import protocol, reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from smartproxy import Settings, SmartProxy

class Client(protocol.Protocol):
    def __init__(self):
        self.received = Deferred()

    def dataReceived(self, data):
        if not self.received.called:
            self.received.callback(data)

class Hello(protocol.Protocol):
    def connectionMade(self):
        self.transport.write(b"hello")

async def ask(port, host):
    client = Client()
    await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), client)
    client.transport.write(b"GET / HTTP/1.1\\r\\nHost: " + host.encode() + b"\\r\\n\\r\\n")
    return client

async def main(file, front):
    proxy = SmartProxy(Settings.load(file))
    proxy.startService()
    for number in range({SILENT}):
        await ask(front, f"silent{{number}}.test")
    while len(proxy.registry.by_route) < {SILENT}:
        turn = Deferred()
        reactor.callLater(0.01, turn.callback, None)
        await turn
    good = await ask(front, "good.test")
    print("received", (await good.received).decode(), flush=True)
    await proxy.reload()
    print("reloaded", flush=True)
    await proxy.stopService()
    print("stopped", flush=True)
    reactor.stop()

file, front, back = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
hello = protocol.Factory.forProtocol(Hello)
reactor.listenTCP(back, hello, interface="127.0.0.1")
reactor.callWhenRunning(lambda: ensureDeferred(main(file, front)).addErrback(lambda why: why.printTraceback()))
reactor.run()
"""

CONFIGURATION = """
gracefulShutdownTimeout: 0
connectionTimeout: 1h
routes:
"""
ROUTE = """
  - name: {name}
    match: {{ports: {front}, address: 127.0.0.1, domains: [{name}.test]}}
    action: {{targets: [{{host: {host}, port: {back}}}]}}
"""


class SilentNamesTests(SynchronousTestCase):
    def test_silent_names_delay_no_other_name_reload_or_stop(self):
        front, back = free_ports(2)
        hosts = {f"silent{number}": f"silent{number}.test" for number in range(SILENT)} | {
            "good": "localhost"
        }
        routes = [ROUTE.format(name=name, host=host, front=front, back=back) for name, host in hosts.items()]
        with TemporaryDirectory() as directory:
            file = Path(directory) / "smartproxy.yaml"
            file.write_text(CONFIGURATION + "".join(routes))
            done = run(sys.executable, "-c", PROGRAM, file, front, back, env=environment())
        self.assertEqual(done.stdout.split("\n")[:-1], ["received hello", "reloaded", "stopped"], done.stderr)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
