"""The arguments of ``smartproxy forward``: places, and the configuration that they mean.

::

    listen = parse_listen("[::1]:8080")             # ("::1", 8080)
    target = parse_target("backend.internal:9000")  # ("backend.internal", 9000)
    print(configuration(Forward(listen, target)))
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from smartproxy.wire.host import host_name, is_address

if TYPE_CHECKING:
    from collections.abc import Mapping

_HIGHEST_PORT = 65535
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
#: Words that YAML 1.1 takes for a boolean or for nothing.
_OTHER_TYPES = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})

#: Keys of the configuration, as the command line calls them.
_ARGUMENTS = {
    "routes[0].match.address": "ADDRESS",
    "routes[0].match.ports": "PORT",
    "routes[0].action.targets[0].host": "HOST",
    "routes[0].action.targets[0].port": "PORT of the target",
    "routes[0].action.tls.certificate.certFile": "--tls CERT",
    "routes[0].action.tls.certificate.keyFile": "--tls KEY",
}


class HostPort(NamedTuple):
    """Host and port. The host ``""`` is every address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Forward(NamedTuple):
    """What is to be forwarded.

    :ivar tls: a certificate and its key, as absolute paths, or ``("selfSigned", "")``; ``None`` forwards bytes as they are.
    :ivar send_proxy: version of the PROXY header for the target; 0 is none.
    """

    listen: HostPort
    target: HostPort
    tls: tuple[str, str] | None = None
    send_proxy: int = 0
    admin: bool = False


def parse_listen(text: str) -> HostPort:
    """The place to listen on: ``8080``, ``127.0.0.1:8080`` or ``[::1]:8080``.

    :raises ValueError: with a message for the user.
    """
    host, port = _split(text) if ":" in text else ("", text)
    if host == "*":
        host = ""
    if host and not is_address(host):
        hint = "; did you mean 127.0.0.1 or [::1]?" if host == "localhost" else ""
        raise ValueError(f"{host!r} is not an IP address of this machine{hint}")
    return HostPort(host, _port(port))


def parse_target(text: str) -> HostPort:
    """The place to forward to: ``127.0.0.1:9000``, ``[::1]:9000`` or ``backend.internal:9000``.

    :raises ValueError: with a message for the user.
    """
    if "/" in text:
        raise ValueError(f"{text!r} is not HOST:PORT, without scheme and path")
    if ":" not in text:
        hint = f"127.0.0.1:{text}" if text.isdigit() else f"{text}:80"
        raise ValueError(f"{text!r} needs a host and a port, for example {hint}")
    host, port = _split(text)
    if not is_address(host) and host_name(host.encode()) is None:
        raise ValueError(f"{host!r} is neither an IP address nor a host name")
    return HostPort(host, _port(port))


def _split(text: str) -> tuple[str, str]:
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise ValueError(f"{host!r} needs no brackets: they are for IPv6 addresses")
    elif ":" in host or "[" in text:
        raise ValueError(f"{text!r}: write an IPv6 address in brackets, then the port, as in [::1]:8080")
    return host, port


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _HIGHEST_PORT):
        raise ValueError(f"{text!r} is not a port: 1..{_HIGHEST_PORT}")
    return int(text)


def configuration(forward: Forward) -> str:
    """The configuration file that does the same."""
    lines = ["admin: true"] if forward.admin else []
    match: dict[str, object] = {"ports": forward.listen.port}
    if forward.listen.host:
        match["address"] = forward.listen.host
    target = {"host": forward.target.host, "port": forward.target.port}
    lines += [
        "routes:",
        "  - name: forward",
        f"    match: {_flow(match)}",
        "    action:",
        f"      targets: [{_flow(target)}]",
    ]
    if forward.send_proxy:
        lines.append(f"      sendProxyProtocol: {forward.send_proxy}")
    if forward.tls is not None:
        cert, key = forward.tls
        certificate: object = {"certFile": cert, "keyFile": key} if key else cert
        lines.append(f"      tls: {_flow({'mode': 'terminate', 'certificate': certificate})}")
    return "\n".join([*lines, ""])


def as_arguments(problem: str) -> str:
    """A problem of that configuration in the words of the command line."""
    for key, argument in _ARGUMENTS.items():
        if problem.startswith(f"{key}: "):
            return f"{argument}: {problem[len(key) + 2 :]}"
    return problem


def _flow(table: Mapping[str, object]) -> str:
    """One line of YAML."""
    return f"{{{', '.join(f'{key}: {_scalar(value)}' for key, value in table.items())}}}"


def _scalar(value: object) -> str:
    """Quoted unless every YAML parser takes it for a string: ``no``, ``1.5`` and ``12e3`` are other types in some."""
    if not isinstance(value, str):
        return _flow(value) if isinstance(value, dict) else str(value)
    is_plain = _PLAIN.fullmatch(value) is not None and value.lower() not in _OTHER_TYPES
    is_ipv4 = is_address(value) and ":" not in value
    return value if is_plain or is_ipv4 else json.dumps(value, ensure_ascii=False)
