"""smartproxy: a TCP/TLS/HTTP proxy, and a Twisted framework to build proxies with.

A map of the house, downhill::

    cli, tap        what a person types
    service         SmartProxy, the IService; assembly and listeners are its hands
    admin           metrics and the API over HTTP
    session         the narrator: one connection's whole path
    settings        what the configuration says, checked and compiled
    phases          the steps of the path, strangers to each other
    relays          two ways to move bytes
    routing, upstream, connections, security, metrics
    flow            Twisted primitives without policy
    interfaces, errors, model
    wire            bytes to values, pure
"""

from __future__ import annotations

from smartproxy._version import __version__
from smartproxy.service import SmartProxy
from smartproxy.settings import Route, Settings

__all__ = ["Route", "Settings", "SmartProxy", "__version__"]
