"""Configuration: read from a file or made in Python, checked, and compiled to a plan.

::

    settings = Settings.load("smartproxy.yaml")     # .yaml, .yml, .json, .toml
    plan = settings.compile()

``settings``
    The facade, :class:`Settings`: load, parse, check, warnings, compile.
``schema``
    The JSON Schema of a configuration file.
``checks``
    Everything that makes a configuration invalid, and the lines that report it.
``compile``
    From valid settings to :class:`~smartproxy.model.plan.ProxyPlan`.
``reading``
    YAML, JSON and TOML to plain values, and the line of each key.
``tables``
    The keys and their values: ``root`` is the whole file.

Each imports only what is below it in this list.
"""

from smartproxy.settings.checks.made_in_python import route_list
from smartproxy.settings.settings import Settings
from smartproxy.settings.tables.acme import Acme, AcmeDns, ExternalAccountBinding, OnDemand
from smartproxy.settings.tables.balancing import (
    CheckStep,
    HealthCheck,
    LoadBalancing,
    PassiveHealth,
    QueueSettings,
)
from smartproxy.settings.tables.base import ConnectionKeys
from smartproxy.settings.tables.root import (
    AccessLogSettings,
    AdminSettings,
    CleanupSettings,
    MetricsSettings,
    ZombieDetection,
)
from smartproxy.settings.tables.route import (
    Action,
    Defaults,
    Match,
    ProxyHeaderSettings,
    ResponseSettings,
    Route,
    Security,
    Target,
    TargetGroup,
)
from smartproxy.settings.tables.tls import (
    CertificateSettings,
    Ciphers,
    ClientAuth,
    RouteTls,
    Tls,
    UpstreamTls,
)

__all__ = [
    "AccessLogSettings",
    "Acme",
    "AcmeDns",
    "Action",
    "AdminSettings",
    "CertificateSettings",
    "CheckStep",
    "Ciphers",
    "CleanupSettings",
    "ClientAuth",
    "ConnectionKeys",
    "Defaults",
    "ExternalAccountBinding",
    "HealthCheck",
    "LoadBalancing",
    "Match",
    "MetricsSettings",
    "OnDemand",
    "PassiveHealth",
    "ProxyHeaderSettings",
    "QueueSettings",
    "ResponseSettings",
    "Route",
    "RouteTls",
    "Security",
    "Settings",
    "Target",
    "TargetGroup",
    "Tls",
    "UpstreamTls",
    "ZombieDetection",
    "route_list",
]
