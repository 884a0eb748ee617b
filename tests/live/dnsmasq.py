"""dnsmasq as the name server of a proxy, with records that a test changes."""

from __future__ import annotations

import os
import signal

from tests.live.programs import needed
from tests.live.waiting import until
from tests.ports import free_ports


class NameServer:
    """A name server for the domain ``test``; answers have a TTL of 1 s.

    :ivar environment: words before the proxy's command, so that it asks this server.
    """

    def __init__(self, case, *options):
        self._case = case
        self._program = None
        (self.port,) = free_ports(1)
        self._hosts = case.file("hosts", "")
        resolv = case.file("resolv.conf", f"nameserver 127.0.0.1:{self.port}\noptions timeout:1 attempts:1\n")
        self.environment = ("env", f"SMARTPROXY_RESOLV_CONF={resolv}")
        self.start(*options)

    def start(self, *options):
        """Start it, with more options."""
        self._program = self._case.program(
            needed("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", f"--port={self.port}",
            "--listen-address=127.0.0.1", "--bind-interfaces", "--no-hosts", "--no-resolv", "--local=/test/",
            f"--addn-hosts={self._hosts}", "--local-ttl=1", "--user=", "--pid-file=", *options,
        )  # fmt: skip
        self._program.listens(self.port)

    def has(self, **addresses):
        """From now on the names below ``test`` have these addresses, and others have none."""
        lines = [f"{address} {name}.test\n" for name, each in addresses.items() for address in each]
        self._hosts.write_text("".join(lines))
        os.kill(self._program.pid, signal.SIGHUP)

    def stop(self):
        """End it: nobody answers."""
        self._program.stop()
        until(lambda: self._program.ended is not None, "dnsmasq ended")
