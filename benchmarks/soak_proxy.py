"""The proxy of a soak: ``twistd smartproxy`` with a configuration file, observed through its admin API and /proc."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.processes import PROXY_CPUS, PYTHON, Process, free_port
from benchmarks.soaking import FAULTY, HOST, TRUSTED

_SERIES = re.compile(r'^smartproxy_(\w+?)(?:_total)?\{route="([^"]*)"\} (\d+)$', re.MULTILINE)


class Ports(NamedTuple):
    """Listening ports by route; ``named`` is shared by the two routes with a domain."""

    plain: int
    announced: int
    named: int
    faulty: int
    refused: int
    spare: int

    def of(self, route: str) -> int:
        found: int = getattr(self, "named" if route in {"sni", "http"} else route)
        return found


def settings(ports: Ports, backends: dict[str, int], admin: int) -> dict[str, Any]:
    """The configuration. Its last route is the spare one."""
    to = {**backends, "refused": free_port(), "spare": backends["plain"]}
    more = {"sni": {"domains": ["sni.soak.test"]}, "http": {"domains": ["http.soak.test"]}}
    routes: list[dict[str, Any]] = [
        {
            "name": route,
            "match": {"ports": [ports.of(route)], "address": HOST, **more.get(route, {})},
            "action": {"targets": [{"host": HOST, "port": port}]},
            **({"inactivityTimeout": "3s"} if route == FAULTY else {}),
        }
        for route, port in to.items()
    ]
    return {"acceleration": "auto", "admin": {"port": admin}, "proxyIPs": [TRUSTED], "routes": routes}


class Proxy(Process):
    """The process of the proxy, its admin API and its descriptors."""

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        self.file = directory / "smartproxy.json"
        self.log = directory / "proxy.log"
        self._admin: int = settings["admin"]["port"]
        self.configure(settings)
        twistd = Path(PYTHON[0]).with_name("twistd")
        command = [*PYTHON, str(twistd), "-n", "--pidfile=", "smartproxy", "--config", str(self.file)]
        super().__init__("proxy", command, self.log, PROXY_CPUS)
        self.wait_until_listening(HOST, self._admin)

    def configure(self, settings: dict[str, Any]) -> None:
        """Replace the configuration file atomically."""
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(settings))
        new.replace(self.file)

    def hang_up(self) -> None:
        os.kill(self._child.pid, signal.SIGHUP)

    @property
    def exit_code(self) -> int | None:
        return self._child.poll()

    def ask(self, path: str, method: str = "GET") -> str:
        connection = http.client.HTTPConnection(HOST, self._admin, timeout=10)
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

    def size(self) -> dict[str, int]:
        """Memory, CPU time, open connections, and descriptors by kind."""
        kinds: Counter[str] = Counter()
        directory = Path(f"/proc/{self._child.pid}/fd")
        for entry in directory.iterdir():
            try:
                kinds[str(entry.readlink()).partition(":")[0]] += 1
            except FileNotFoundError:
                continue  # closed meanwhile
        pipes = kinds.pop("pipe", 0)
        return {
            "rssBytes": self.rss_bytes,
            "cpuMilliseconds": self.cpu_ns // 10**6,
            "connections": self.api("metrics")["connections"]["active"],
            "pipeEnds": pipes,
            "otherDescriptors": sum(kinds.values()),
        }
