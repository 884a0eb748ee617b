"""The proxy as users run it: ``twistd smartproxy`` in a separate process, observed through its admin API."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
from pathlib import Path

from tests.live.programs import Program, environment
from tests.live.waiting import PATIENCE, until
from tests.ports import free_ports


def twistd():
    """Command line of ``twistd``: the script of this Python's environment, or the module."""
    beside = Path(sys.executable).with_name("twistd")
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "twisted.scripts.twistd"]


class Proxy(Program):
    """A proxy with this configuration, to which an admin listener is added.

    :param before: words of the command line before ``twistd``.
    :param options: options of ``twistd`` itself.
    """

    def __init__(self, directory, settings, before=(), options=()):
        (self.admin_port,) = free_ports(1)
        ours = {"admin": {"port": self.admin_port}, "gracefulShutdownTimeout": "500ms"}
        self.file = directory / f"proxy-{self.admin_port}.json"
        self.file.write_text(json.dumps({**ours, **settings}))
        command = [*before, *twistd(), "-n", "--pidfile=", *options, "smartproxy", "--config", self.file]
        log = directory / f"proxy-{self.admin_port}.log"
        super().__init__(command, log, env=environment(), cwd=directory)

    def report(self):
        """Print its log and live connections, which pytest shows only of a test that has failed."""
        print(self.printed)
        if self.ended is None:
            with contextlib.suppress(OSError, AssertionError, ValueError, http.client.HTTPException):
                print(json.dumps(self.connections, indent=1))

    def ready(self):
        """Wait until it accepts connections."""
        until(self._is_ready, "the proxy being ready")

    def _is_ready(self):
        assert self.ended is None, f"the proxy ended with {self.ended}:\n{self.printed}"
        try:
            return self.ask("/readyz", "GET")[0] == http.client.OK
        except OSError:
            return False

    def ask(self, path, method="GET"):
        """Status and body of a request to the admin listener."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=PATIENCE)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def api(self, path):
        """The parsed response to ``GET /api/v1/...``."""
        status, body = self.ask(f"/api/v1/{path}")
        assert status == http.client.OK, (path, status, body)
        return json.loads(body)

    @property
    def connections(self):
        """The open connections."""
        return self.api("connections")["connections"]

    @property
    def metrics(self):
        """``/api/v1/metrics``."""
        return self.api("metrics")

    @property
    def active(self):
        """Number of open connections."""
        return self.metrics["connections"]["active"]

    @property
    def moved(self):
        """Payload bytes: received from clients, sent to clients."""
        totals = self.metrics["totals"]
        return totals["bytesReceived"], totals["bytesSent"]

    def rejected(self, reason):
        """Number of connections refused for ``reason``."""
        return self.metrics["rejected"][reason]

    def closed(self, reason):
        """Number of relayed connections that ended with ``reason``."""
        return self.metrics["closed"][reason]

    def emptied(self):
        """Wait until no connection is open."""
        until(lambda: self.active == 0, f"no connection left, of {self.connections}")

    def the_connection(self, **facts):
        """Wait for an open connection with these facts, and return it."""

        def look():
            found = [each for each in self.connections if facts.items() <= each.items()]
            return found[0] if found else None

        return until(look, f"a connection with {facts}, among {self.connections}")
