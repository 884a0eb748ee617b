"""What the configuration says: read, checked, and compiled for the path.

::

    settings = Settings.load("smartproxy.yaml")     # .yaml, .yml, .json, .toml
    plan = settings.compile()

``top`` and ``route`` are the tables, ``kinds`` and ``units`` the values in them. ``read_yaml``, ``read_json`` and
``read_toml`` read a text and know its lines; ``loading`` joins them. ``conflicts`` and ``reach`` find what only shows in
the whole, ``availability`` what is not there yet. ``problems`` words all of it. ``plans`` compiles, ``schema`` describes.
"""

from smartproxy.settings.tables.base import ConnectionKeys
from smartproxy.settings.tables.route import (
    Action,
    Defaults,
    LoadBalancing,
    Match,
    ProxyHeaderSettings,
    ResponseSettings,
    Route,
    Security,
    Target,
)
from smartproxy.settings.tables.tls import (
    CertificateSettings,
    Ciphers,
    ClientAuth,
    RouteTls,
    Tls,
    UpstreamTls,
)
from smartproxy.settings.top import (
    AccessLogSettings,
    AdminSettings,
    CleanupSettings,
    MetricsSettings,
    Settings,
    ZombieDetection,
)

__all__ = [
    "AccessLogSettings",
    "Action",
    "AdminSettings",
    "CertificateSettings",
    "Ciphers",
    "CleanupSettings",
    "ClientAuth",
    "ConnectionKeys",
    "Defaults",
    "LoadBalancing",
    "Match",
    "MetricsSettings",
    "ProxyHeaderSettings",
    "ResponseSettings",
    "Route",
    "RouteTls",
    "Security",
    "Settings",
    "Target",
    "Tls",
    "UpstreamTls",
    "ZombieDetection",
]
