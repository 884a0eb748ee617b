"""The proxy that is measured: a process without the collector of reference cycles, with a route for each kind of end."""

from __future__ import annotations

import gc
import http.client
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.ends.targets import HOST
from benchmarks.processes import PROXY_CPUS, PYTHON, BenchmarkError, Process, free_port

#: A peer whose PROXY headers are read.
TRUSTED = "127.0.0.2"
#: A client that a list refuses.
BLOCKED = "127.0.3.1"
DOMAIN = "ends.bench.example"
#: Timeouts that are waited for. The clock of the proxy adds up to a second.
_SHORT = "300ms"
#: And those that are not, however busy the machine is.
_LONG = "60s"
_SETTLES_WITHIN = 180.0


class Sizes(NamedTuple):
    """What the process holds.

    :ivar rss: bytes.
    :ivar active: connections.
    """

    rss: int
    descriptors: int
    active: int


def settings(
    ports: dict[str, int], targets: dict[str, int], admin: int, certificate: Path, acceleration: str
) -> dict[str, Any]:
    """The configuration.

    :param ports: by route, filled in.
    :param targets: ports by kind of target; ``silent`` does not answer, and ``refusing`` does not listen.
    """
    terminate: dict[str, Any] = {"mode": "terminate", "certificate": {"certFile": str(certificate)}}
    reencrypt = {**terminate, "mode": "terminate-and-reencrypt", "upstream": {"verify": False}}
    routes = [
        _forward("answer", targets["answer"]),
        _forward("farewell", targets["farewell"]),
        _forward("reset", targets["reset"]),
        _forward("hold", targets["hold"]),
        _forward("silent", targets["silent"], connectionTimeout=_SHORT),
        _forward("patient", targets["silent"]),
        _forward("refusing", targets["refusing"]),
        _forward("blocked", targets["answer"], security={"ipBlockList": [BLOCKED]}),
        _forward("full", targets["hold"], security={"maxConnections": 1}),
        _forward("idle", targets["hold"], inactivityTimeout=_SHORT, keepAlive=False),
        _forward("half", targets["farewell"], halfCloseTimeout=_SHORT, keepAlive=False),
        _matching("http", targets["answer"], path="/here", initialDataTimeout=_SHORT),
        _forward("tls", targets["answer"], tls=terminate),
        _forward("hasty", targets["answer"], tls=terminate, tlsHandshakeTimeout=_SHORT),
        _forward("reencrypt", targets["encrypted"], tls=reencrypt),
        _matching("inside", targets["answer"], tls=terminate, path="/here"),
        _matching("named", targets["answer"], tls=terminate, domains=[DOMAIN]),
        *(_handled(name) for name in ("answer", "fail", "wait", "collect")),
    ]
    for route in routes:
        ports[route["name"]] = free_port()
        route["match"] |= {"ports": ports[route["name"]], "address": HOST}
    return {
        "acceleration": acceleration,
        "admin": {"port": admin},
        "proxyIPs": [TRUSTED],
        "proxyHeaderTimeout": _SHORT,
        "initialDataTimeout": _LONG,
        "tlsHandshakeTimeout": _LONG,
        "connectionTimeout": _LONG,
        "routes": routes,
    }


def _forward(name: str, target: int, *, tls: dict[str, Any] | None = None, **keys: object) -> dict[str, Any]:
    action: dict[str, Any] = {"targets": [{"host": HOST, "port": target}]}
    if tls is not None:
        action["tls"] = tls
    return {"name": name, "match": {}, "action": action, **keys}


def _matching(
    name: str,
    target: int,
    *,
    path: str | None = None,
    domains: list[str] | None = None,
    tls: dict[str, Any] | None = None,
    **keys: object,
) -> dict[str, Any]:
    """A route that looks at the first bytes."""
    route = _forward(name, target, tls=tls, **keys)
    route["match"] = {"path": path} if path is not None else {"domains": domains}
    return route


def _handled(name: str) -> dict[str, Any]:
    handler = {"type": "handler", "handler": f"benchmarks.ends.handlers:{name}"}
    return {"name": f"handler {name}", "match": {}, "action": handler}


class Proxy(Process):
    """The process, and what it holds."""

    def __init__(self, directory: Path, settings: dict[str, Any], ports: dict[str, int]) -> None:
        self._collector = ports["handler collect"]
        self._admin_port: int = settings["admin"]["port"]
        config = directory / "smartproxy.json"
        config.write_text(json.dumps(settings))
        command = [*PYTHON, "-m", "benchmarks.ends.proxy", str(config)]
        super().__init__("proxy", command, directory / "proxy.log", PROXY_CPUS)
        for port in (self._admin_port, self._collector):
            self.wait_until_listening(HOST, port)

    def ask(self, path: str) -> Any:
        """The answer of the admin API."""
        connection = http.client.HTTPConnection(HOST, self._admin_port, timeout=_SETTLES_WITHIN)
        with closing(connection):
            connection.request("GET", f"/api/v1/{path}")
            return json.load(connection.getresponse())

    def end_all(self, ids: Iterable[int]) -> None:
        """End connections, by pipelined requests.

        :raises BenchmarkError: if one is not found.
        """
        requests = [f"DELETE /api/v1/connections/{each} HTTP/1.1\r\nHost: {HOST}\r\n\r\n" for each in ids]
        with socket.create_connection((HOST, self._admin_port), _SETTLES_WITHIN) as sock:
            sock.sendall("".join(requests).encode())
            with sock.makefile("rb") as answers:
                for _ in requests:
                    status, length = answers.readline(), 0
                    while (line := answers.readline()) != b"\r\n":
                        name, _, value = line.partition(b":")
                        length = int(value) if name.lower() == b"content-length" else length
                    answers.read(length)
                    if b" 200 " not in status:
                        raise BenchmarkError(f"DELETE was answered {status!r}")

    def sizes(self) -> Sizes:
        descriptors = Counter(Path(f"/proc/{self._child.pid}/fd").iterdir()).total()
        return Sizes(self.rss_bytes, descriptors, self.ask("metrics")["connections"]["active"])

    def settled(self, done: Callable[[Sizes], bool]) -> Sizes:
        """The sizes when ``done`` says that the ends are over, or after three minutes."""
        deadline = time.monotonic() + _SETTLES_WITHIN
        while not done(sizes := self.sizes()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return sizes

    def collect(self) -> int:
        """Run the collector once, and return how many objects only reference cycles had kept.

        :raises BenchmarkError: if the collector runs by itself.
        """
        with socket.create_connection((HOST, self._collector), _SETTLES_WITHIN) as sock:
            found = json.load(sock.makefile("rb"))
        if found["enabled"]:
            raise BenchmarkError("something has enabled the collector")
        unreachable: int = found["unreachable"]
        return unreachable


def main(config: str) -> None:
    from twisted.internet import epollreactor  # noqa: PLC0415 - importing a reactor is for this process only

    epollreactor.install()
    from twisted.internet import reactor as installed  # noqa: PLC0415 - the reactor is installed only now
    from twisted.logger import globalLogBeginner, textFileLogObserver  # noqa: PLC0415 - it imports the reactor

    from smartproxy import Settings, SmartProxy  # noqa: PLC0415 - it would install another one

    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
    reactor: Any = installed
    service = SmartProxy(Settings.load(config))
    reactor.callWhenRunning(service.startService)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    gc.disable()
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
