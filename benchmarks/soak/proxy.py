"""The proxy of a soak: ``twistd smartproxy`` with a configuration file, observed through its admin API and /proc."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.processes import PROXY_CPUS, PYTHON, Process, free_port, rss_of
from benchmarks.soak import stubborn, web
from benchmarks.soak.certificates import DOMAIN
from benchmarks.soak.talk import CLEAN, FAULTY, HOST, SECURED, TRUSTED, WEB

#: Seconds that a trusted peer has for its PROXY header: honest ones need it, too, on a busy machine.
HEADER_TIMEOUT = 6.0
#: Seconds for the first bytes, and for a TLS handshake, on the route with those that stall.
FIRST_BYTES_TIMEOUT = 5.0
#: The same on other routes, with honest clients only.
_HONEST_TIMEOUT = "55s"
#: Longer than the longest conversation: a worker that is replaced ends none.
_GRACE = "120s"
#: Seconds of silence behind a FIN, on the route with slow readers.
HALF_CLOSE = 2.0
#: The address that the plain route listens on, and that of a route beside it on the same port, in turn.
_ADDRESSES = ((HOST, None), (HOST, "127.0.0.3"), ("", None), ("", "127.0.0.3"))
_SERIES = re.compile(r'^smartproxy_(\w+?)(?:_total)?\{route="([^"]*)"\} (\d+)$', re.MULTILINE)


class Ports(NamedTuple):
    """Listening ports by route; ``named`` is shared by the two routes with a domain."""

    plain: int
    announced: int
    named: int
    secure: int
    reencrypt: int
    slow: int
    rude: int
    faulty: int
    refused: int
    inside: int
    stubborn: int
    web: int
    web_faulty: int
    spare: int

    def of(self, route: str) -> int:
        found: int = getattr(self, "named" if route in {"sni", "http"} else route)
        return found


def settings(
    ports: Ports, backends: dict[str, int], admin: int, authority: Path, acceleration: str, workers: int
) -> dict[str, Any]:
    """The configuration. Its last route is the spare one.

    :param authority: file of the authority that has signed the target's certificate.
    """
    to = {
        **{route: port for route, port in backends.items() if route not in {"spare", *WEB}},
        "refused": free_port(),
    }
    routes = [_route(route, ports, port, authority) for route, port in to.items()]
    routes += [
        {
            "name": "inside",
            "match": {"ports": [ports.inside], "address": HOST, "path": "/inside"},
            "action": {"type": "respond", "response": {"body": "inside"}, "tls": {"mode": "terminate"}},
            "initialDataTimeout": f"{FIRST_BYTES_TIMEOUT:.0f}s",
            "tlsHandshakeTimeout": f"{FIRST_BYTES_TIMEOUT:.0f}s",
        },
        {
            "name": "stubborn",
            "match": {"ports": [ports.stubborn], "address": HOST},
            "action": {"type": "handler", "handler": f"{Path(stubborn.__file__).stem}:answer_late"},
        },
        *web.routes(ports.web, ports.web_faulty, backends["web"]),
        _route("spare", ports, backends["spare"], authority),
    ]
    return {
        "acceleration": acceleration,
        "workers": workers,
        "gracefulShutdownTimeout": _GRACE,
        "admin": {"port": admin},
        "proxyIPs": [TRUSTED],
        "proxyHeaderTimeout": f"{HEADER_TIMEOUT:.0f}s",
        "initialDataTimeout": _HONEST_TIMEOUT,
        "tlsHandshakeTimeout": _HONEST_TIMEOUT,
        "connectionTimeout": _HONEST_TIMEOUT,
        "tls": {"certificates": "certificates"},
        "routes": routes,
    }


def _route(name: str, ports: Ports, backend: int, authority: Path) -> dict[str, Any]:
    action: dict[str, Any] = {"targets": [{"host": HOST, "port": backend}]}
    route = {
        "name": name,
        "match": {"ports": [ports.of(name)], "address": HOST},
        "action": action,
    }
    if name in {"sni", "http"}:
        route["match"] |= {"domains": [f"{name}.{DOMAIN}"]}  # type: ignore[operator] # a dictionary
    if name in SECURED:
        action["tls"] = {"mode": "terminate"}
    if name == "reencrypt":
        upstream = {"ca": str(authority), "serverName": f"target.{DOMAIN}"}
        action["tls"] = {"mode": "terminate-and-reencrypt", "upstream": upstream}
    if name == FAULTY:
        route["inactivityTimeout"] = "3s"
    if name == "slow":
        route["halfCloseTimeout"] = f"{HALF_CLOSE:.0f}s"
    return route


def variant(settings: dict[str, Any], number: int) -> dict[str, Any]:
    """The configuration of reload ``number``: with other addresses, and every second time without the spare route."""
    routes = list(settings["routes"][: len(settings["routes"]) - number % 2])
    at = CLEAN.index("plain")
    address, beside = _ADDRESSES[number % len(_ADDRESSES)]
    routes[at] = _on(routes[at], address)
    if beside is not None:
        routes.append({**_on(routes[at], beside), "name": "beside"})
    return {**settings, "routes": routes}


def _on(route: dict[str, Any], address: str) -> dict[str, Any]:
    return {**route, "match": {**route["match"], "address": address}}


class Proxy(Process):
    """The process of the proxy, its admin API and its descriptors.

    :param strict: Python's development mode, with every warning an error.
    """

    def __init__(self, directory: Path, settings: dict[str, Any], *, strict: bool) -> None:
        self.file = directory / "smartproxy.json"
        self.log = directory / "proxy.log"
        self.admin: int = settings["admin"]["port"]
        self.configure(settings)
        shutil.copy(stubborn.__file__, directory)
        twistd = Path(PYTHON[0]).with_name("twistd")
        python = [*PYTHON, *(("-X", "dev", "-W", "error") if strict else ())]
        command = [*python, str(twistd), "-n", "--pidfile=", "smartproxy", "--config", str(self.file)]
        super().__init__("proxy", command, self.log, PROXY_CPUS)
        self.wait_until_listening(HOST, self.admin)

    def configure(self, settings: dict[str, Any]) -> None:
        """Replace the configuration file atomically."""
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(settings))
        new.replace(self.file)

    def hang_up(self) -> None:
        os.kill(self._child.pid, signal.SIGHUP)

    def replace_workers(self) -> None:
        os.kill(self._child.pid, signal.SIGUSR2)

    @property
    def exit_code(self) -> int | None:
        return self._child.poll()

    def ask(self, path: str, method: str = "GET") -> str:
        connection = http.client.HTTPConnection(HOST, self.admin, timeout=30)
        try:
            connection.request(method, path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def api(self, path: str) -> Any:
        return json.loads(self.ask(f"/api/v1/{path}"))

    def series(self) -> dict[str, dict[str, int]]:
        """Values by route of each metric, whose name is without prefix and ``_total``."""
        found: dict[str, dict[str, int]] = {}
        for name, route, number in _SERIES.findall(self.ask("/metrics")):
            found.setdefault(name, {})[route] = int(number)
        return found

    def failed_reloads(self) -> int:
        line = re.search(
            r'^smartproxy_config_reloads_total\{result="failed"\} (\d+)', self.ask("/metrics"), re.MULTILINE
        )
        return int(line.group(1)) if line else -1

    def size(self) -> dict[str, int]:
        """Memory, CPU time and descriptors by kind, of all processes together, and open connections."""
        kinds: Counter[str] = Counter()
        resident = 0
        for pid in self.pids:
            with suppress(OSError):  # it has ended meanwhile
                resident += rss_of(pid)
                for entry in Path(f"/proc/{pid}/fd").iterdir():
                    with suppress(OSError):  # closed meanwhile
                        kinds[str(entry.readlink()).partition(":")[0]] += 1
        pipes = kinds.pop("pipe", 0)
        return {
            "rssBytes": resident,
            "cpuMilliseconds": self.cpu_ns // 10**6,
            "connections": self.api("metrics")["connections"]["active"],
            "pipeEnds": pipes,
            "otherDescriptors": sum(kinds.values()),
        }
