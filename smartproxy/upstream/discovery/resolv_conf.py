"""The name servers of this machine (``/etc/resolv.conf``), and the names that need none (``/etc/hosts``).

Both files are read again when they have changed: a DHCP client or a container's runtime may write them at any time.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from smartproxy.files.states import state_of
from smartproxy.wire.host import is_address, normalise_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smartproxy.model.plan import FileState

#: Names another file than :data:`RESOLV_CONF`, for the names of discovery only.
VARIABLE: Final = "SMARTPROXY_RESOLV_CONF"
RESOLV_CONF: Final = "/etc/resolv.conf"
HOSTS: Final = "/etc/hosts"
_DNS_PORT: Final = 53
_HIGHEST_PORT: Final = 65535
#: resolv.conf(5): MAXNS, and the limits of ``ndots``, ``timeout`` and ``attempts``.
_MOST_SERVERS: Final = 3
_LIMITS: Final = {"ndots": 15, "timeout": 30, "attempts": 5}
#: Domains of ``search``. glibc has had no limit since 2.26; each may cost a query.
_MOST_DOMAINS: Final = 8
#: RFC 6761, 6.3: names that mean this machine without any server.
_LOCAL: Final = ("127.0.0.1", "::1")

ContentT = TypeVar("ContentT")


class Server(NamedTuple):
    """A name server."""

    host: str
    port: int = _DNS_PORT


class NameServers(NamedTuple):
    """What a resolv.conf says.

    :ivar search: domains that a short name is completed with.
    :ivar ndots: a name with fewer dots is short.
    :ivar timeout: seconds for the first try of each server.
    :ivar attempts: how often each server is tried.
    """

    servers: tuple[Server, ...] = (Server("127.0.0.1"),)
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout: float = 1.0
    attempts: int = 2

    def full_names(self, name: str) -> list[str]:
        """The names to ask for in turn, none with a final dot, as ``getaddrinfo`` does it."""
        if name.endswith("."):
            return [name[:-1]]
        completed = [f"{name}.{domain}" for domain in self.search]
        return [name, *completed] if name.count(".") >= self.ndots else [*completed, name]


def name_servers(text: str) -> NameServers:
    """What ``text`` says, in the format of resolv.conf(5). Lines that cannot be used are ignored, as glibc ignores them.

    A server may have a port: ``nameserver 127.0.0.1:5353`` or ``[::1]:5353``.
    """
    servers: list[Server] = []
    search: list[str] = []
    options: dict[str, int] = {}
    for line in text.splitlines():
        key, *values = line.split() or [""]
        if key == "nameserver" and values:
            servers += _server(values[0])
        elif key in {"search", "domain"}:
            search = [value.strip(".").lower() for value in values if value.strip(".")]
        elif key == "options":
            options |= dict(_options(values))
    usual = NameServers()
    return NameServers(
        tuple(servers[:_MOST_SERVERS]) or usual.servers,
        tuple(search[:_MOST_DOMAINS]),
        options.get("ndots", usual.ndots),
        float(options.get("timeout", usual.timeout)),
        options.get("attempts", usual.attempts),
    )


def _server(written: str) -> Iterator[Server]:
    if is_address(written.partition("%")[0]):
        yield Server(written)
        return
    host, _, port = written.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if is_address(host) and port.isdecimal() and 1 <= int(port) <= _HIGHEST_PORT:
        yield Server(host, int(port))


def _options(words: list[str]) -> Iterator[tuple[str, int]]:
    for word in words:
        name, _, value = word.partition(":")
        if name in _LIMITS and value.isdecimal() and len(value) <= len("999"):
            least = 0 if name == "ndots" else 1
            yield name, min(max(int(value), least), _LIMITS[name])


def hosts_of(text: str) -> dict[str, tuple[str, ...]]:
    """The addresses of each name in ``text``, in the format of hosts(5)."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if not is_address(address):
            continue
        for name in names:
            listed = found.setdefault(name.rstrip(".").lower(), [])
            if (normalised := normalise_address(address)) not in listed:
                listed.append(normalised)
    return {name: tuple(addresses) for name, addresses in found.items()}


class SystemFile(Generic[ContentT]):
    """The content of a file, read again when the file has changed. One that cannot be read is empty."""

    def __init__(self, path: str, parse: Callable[[str], ContentT]) -> None:
        self._path = path
        self._parse = parse
        self._state: FileState | None = None
        self._content = parse("")

    def __call__(self) -> ContentT:
        """The content now. These files are small and local, so they are read in the event loop."""
        state = state_of(self._path)
        if state != self._state:
            self._state = state
            try:
                text = Path(self._path).read_text(encoding="utf-8", errors="replace")
            except OSError:
                text = ""
            self._content = self._parse(text)
        return self._content


def system_name_servers() -> SystemFile[NameServers]:
    """Those of this machine, or of the file that :data:`VARIABLE` names."""
    return SystemFile(os.environ.get(VARIABLE) or RESOLV_CONF, name_servers)


def system_hosts() -> SystemFile[dict[str, tuple[str, ...]]]:
    """The names of ``/etc/hosts``."""
    return SystemFile(HOSTS, hosts_of)


def local_addresses(name: str) -> tuple[str, ...]:
    """The addresses of ``localhost`` and of names below it; none for any other name.

    :param name: in lower case, without a final dot.
    """
    return _LOCAL if name == "localhost" or name.endswith(".localhost") else ()
