"""smartproxy: a TCP/TLS/HTTP proxy, and a Twisted framework to build proxies with.

A map of the house, downhill::

    cli, tap        what a person types; testing is what a test does
    service         SmartProxy, the IService; assembly and listeners are its hands
    admin           metrics and the API over HTTP
    session         the narrator: one connection's whole path
    settings        what the configuration says, checked and compiled
    phases          the steps of the path, strangers to each other
    relays          three ways to move bytes
    serving         or code of ours and yours that takes them; handlers are ready-made
    routing, upstream, connections, security, metrics
    tls             certificates, contexts, and the channel between ciphertext and plaintext
    flow            Twisted primitives without policy
    interfaces, errors, model
    wire            bytes to values, pure

A name is imported when it is first asked for: a command that only reads a
configuration loads nothing of Twisted but its exceptions.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from smartproxy._version import __version__

if TYPE_CHECKING:
    from smartproxy.proxy.service import SmartProxy
    from smartproxy.serving.connection import Connection
    from smartproxy.settings import Route, Settings

__all__ = ["Connection", "Route", "Settings", "SmartProxy", "__version__"]

_PLACES = {
    "Connection": "smartproxy.serving.connection",
    "Route": "smartproxy.settings",
    "Settings": "smartproxy.settings",
    "SmartProxy": "smartproxy.proxy.service",
}

if not TYPE_CHECKING:  # a module that answers to every name would hide misspelt ones from a type checker

    def __getattr__(name: str) -> object:
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_PLACES[name]), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *_PLACES})
