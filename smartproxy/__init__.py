"""smartproxy: a TCP and TLS proxy, and a Twisted framework to build proxies with.

::

    from smartproxy import Settings, SmartProxy

    proxy = SmartProxy(Settings.load("smartproxy.yaml"))
    proxy.setServiceParent(application)

The names exported here, and those of :mod:`smartproxy.testing`, are public; every other module is private and may change
in any release. A name is imported when it is first used: a program that only reads a configuration loads nothing of
Twisted but its exceptions.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from smartproxy._version import __version__

if TYPE_CHECKING:
    from smartproxy.acme.automatic import AutomaticCertificates
    from smartproxy.acme.events import CertificateEvent
    from smartproxy.errors import (
        BodyTooLong,
        CheckFailed,
        ConfigurationError,
        InvalidCertificate,
        Refused,
        SmartProxyError,
    )
    from smartproxy.flow.clock import use_monotonic_time
    from smartproxy.http.local.fixed import http_respond
    from smartproxy.http.local.redirect import http_redirect
    from smartproxy.http.local.served_exchange import Exchange
    from smartproxy.metrics.collector import PrometheusCollector
    from smartproxy.model.address import Endpoint, UnixEndpoint
    from smartproxy.model.facts import Accepted, Announced, ApplicationProtocol, Detected, Routed, TlsFacts
    from smartproxy.model.outcome import CloseReason, RejectReason
    from smartproxy.model.plan import CertificatePlan
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.model.target_status import CheckedTarget, ShownCheck, ShownTarget
    from smartproxy.proxy.service import SmartProxy
    from smartproxy.serving.connection import Connection
    from smartproxy.serving.protocols import ClientTransport
    from smartproxy.serving.ready import block, discard, echo, respond
    from smartproxy.settings import (
        Acme,
        AcmeDns,
        Action,
        ClientAuth,
        Defaults,
        HealthCheck,
        LoadBalancing,
        Match,
        OnDemand,
        Route,
        RouteTls,
        Security,
        Settings,
        Target,
        TargetGroup,
        Tls,
        UpstreamTls,
    )
    from smartproxy.tls.certificate import self_signed_certificate
    from smartproxy.tls.certificate_files import certificate_from_pem
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.interfaces import Balancer
    from smartproxy.upstream.steering import TargetGroups
    from smartproxy.wire.client_hello import ClientHello
    from smartproxy.wire.http_head import RequestHead
    from smartproxy.wire.proxy_header import AddressFamily, ProxyHeader, Tlv

__all__ = [
    "Accepted",
    "Acme",
    "AcmeDns",
    "Action",
    "AddressFamily",
    "Announced",
    "ApplicationProtocol",
    "AutomaticCertificates",
    "Balancer",
    "BodyTooLong",
    "Candidate",
    "CertificateEvent",
    "CertificatePlan",
    "CheckFailed",
    "CheckedTarget",
    "ClientAuth",
    "ClientHello",
    "ClientTransport",
    "CloseReason",
    "ConfigurationError",
    "Connection",
    "ConnectionRecord",
    "Defaults",
    "Detected",
    "Endpoint",
    "Exchange",
    "HealthCheck",
    "InvalidCertificate",
    "LoadBalancing",
    "Match",
    "OnDemand",
    "PrometheusCollector",
    "ProxyHeader",
    "Refused",
    "RejectReason",
    "RequestHead",
    "Route",
    "RouteTls",
    "Routed",
    "Security",
    "Settings",
    "ShownCheck",
    "ShownTarget",
    "SmartProxy",
    "SmartProxyError",
    "Target",
    "TargetGroup",
    "TargetGroups",
    "Tls",
    "TlsFacts",
    "Tlv",
    "UnixEndpoint",
    "UpstreamTls",
    "__version__",
    "block",
    "certificate_from_pem",
    "discard",
    "echo",
    "http_redirect",
    "http_respond",
    "respond",
    "self_signed_certificate",
    "use_monotonic_time",
]

_MODULES = {
    "smartproxy.acme.automatic": ("AutomaticCertificates",),
    "smartproxy.acme.events": ("CertificateEvent",),
    "smartproxy.errors": (
        "BodyTooLong",
        "CheckFailed",
        "ConfigurationError",
        "InvalidCertificate",
        "Refused",
        "SmartProxyError",
    ),
    "smartproxy.flow.clock": ("use_monotonic_time",),
    "smartproxy.http.local.fixed": ("http_respond",),
    "smartproxy.http.local.redirect": ("http_redirect",),
    "smartproxy.http.local.served_exchange": ("Exchange",),
    "smartproxy.metrics.collector": ("PrometheusCollector",),
    "smartproxy.model.address": ("Endpoint", "UnixEndpoint"),
    "smartproxy.model.facts": (
        "Accepted",
        "Announced",
        "ApplicationProtocol",
        "Detected",
        "Routed",
        "TlsFacts",
    ),
    "smartproxy.model.outcome": ("CloseReason", "RejectReason"),
    "smartproxy.model.plan": ("CertificatePlan",),
    "smartproxy.model.record": ("ConnectionRecord",),
    "smartproxy.model.target_status": ("CheckedTarget", "ShownCheck", "ShownTarget"),
    "smartproxy.proxy.service": ("SmartProxy",),
    "smartproxy.serving.connection": ("Connection",),
    "smartproxy.serving.protocols": ("ClientTransport",),
    "smartproxy.serving.ready": ("block", "discard", "echo", "respond"),
    "smartproxy.settings": (
        "Acme",
        "AcmeDns",
        "Action",
        "ClientAuth",
        "Defaults",
        "HealthCheck",
        "LoadBalancing",
        "Match",
        "OnDemand",
        "Route",
        "RouteTls",
        "Security",
        "Settings",
        "Target",
        "TargetGroup",
        "Tls",
        "UpstreamTls",
    ),
    "smartproxy.tls.certificate": ("self_signed_certificate",),
    "smartproxy.tls.certificate_files": ("certificate_from_pem",),
    "smartproxy.upstream.candidate": ("Candidate",),
    "smartproxy.upstream.interfaces": ("Balancer",),
    "smartproxy.upstream.steering": ("TargetGroups",),
    "smartproxy.wire.client_hello": ("ClientHello",),
    "smartproxy.wire.http_head": ("RequestHead",),
    "smartproxy.wire.proxy_header": ("AddressFamily", "ProxyHeader", "Tlv"),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}

if not TYPE_CHECKING:  # a module that answers to every name would hide misspelled ones from a type checker

    def __getattr__(name: str) -> object:
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_PLACES[name]), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *_PLACES})
