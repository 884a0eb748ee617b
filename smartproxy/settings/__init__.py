"""What the configuration says: read, checked, and compiled for the path.

::

    settings = Settings.load("smartproxy.yaml")     # .yaml, .yml, .json, .toml
    plan = settings.compile()

``top`` and ``route`` are the tables, ``kinds`` and ``units`` the values in them. ``read_yaml``, ``read_json`` and
``read_toml`` read a text and know its lines; ``loading`` joins them. ``conflicts`` and ``reach`` find what only shows in
the whole, ``availability`` what is not there yet. ``problems`` words all of it. ``plans`` compiles, ``schema`` describes.
"""

from smartproxy.settings.base import ConnectionKeys
from smartproxy.settings.route import (
    Action,
    Defaults,
    LoadBalancing,
    Match,
    ProxyHeader,
    Response,
    Route,
    Security,
    Target,
)
from smartproxy.settings.tls import Certificate, Ciphers, ClientAuth, RouteTls, Tls, UpstreamTls
from smartproxy.settings.top import AccessLog, Admin, Cleanup, Metrics, Settings, ZombieDetection

__all__ = [
    "AccessLog",
    "Action",
    "Admin",
    "Certificate",
    "Ciphers",
    "Cleanup",
    "ClientAuth",
    "ConnectionKeys",
    "Defaults",
    "LoadBalancing",
    "Match",
    "Metrics",
    "ProxyHeader",
    "Response",
    "Route",
    "RouteTls",
    "Security",
    "Settings",
    "Target",
    "Tls",
    "UpstreamTls",
    "ZombieDetection",
]
