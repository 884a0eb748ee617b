"""The compiled configuration: frozen, slotted, in seconds and bytes, with nothing left to parse.

``settings`` reads and checks a configuration, and compiles it to a :class:`ProxyPlan`. Nothing on the control path or the
byte path looks at a configuration key, a default or a unit again.
"""

from __future__ import annotations

from smartproxy.model.plan.acme import (
    AcmePlan,
    Approval,
    ChallengeType,
    DnsChange,
    ExternalAccount,
    KeyKind,
    OnDemandPlan,
)
from smartproxy.model.plan.address_file import AddressFile
from smartproxy.model.plan.error_page import ErrorPage
from smartproxy.model.plan.group import (
    Algorithm,
    BalancingPlan,
    GroupPlan,
    PassiveHealthPlan,
    QueuePlan,
)
from smartproxy.model.plan.http import HttpPlan, RewritePlan
from smartproxy.model.plan.proxy import (
    AcceptHeader,
    AccessLogPlan,
    AdminPlan,
    CleanupPlan,
    MetricsPlan,
    ProxyPlan,
    ZombiePlan,
)
from smartproxy.model.plan.route import (
    ActionKind,
    Handler,
    MatchPlan,
    RoutePlan,
    TlvMatch,
)
from smartproxy.model.plan.target import Choice, SendHeader, TargetPlan
from smartproxy.model.plan.timing import KeepAlive, Probes, Timeouts, Treatment
from smartproxy.model.plan.tls import (
    CertificateChoice,
    CertificatePlan,
    ClientAuthPlan,
    DirectoryPlan,
    FileState,
    LeftOut,
    OriginationPlan,
    TerminationPlan,
    TlsPlan,
)

__all__ = [
    "AcceptHeader",
    "AccessLogPlan",
    "AcmePlan",
    "ActionKind",
    "AddressFile",
    "AdminPlan",
    "Algorithm",
    "Approval",
    "BalancingPlan",
    "CertificateChoice",
    "CertificatePlan",
    "ChallengeType",
    "Choice",
    "CleanupPlan",
    "ClientAuthPlan",
    "DirectoryPlan",
    "DnsChange",
    "ErrorPage",
    "ExternalAccount",
    "FileState",
    "GroupPlan",
    "Handler",
    "HttpPlan",
    "KeepAlive",
    "KeyKind",
    "LeftOut",
    "MatchPlan",
    "MetricsPlan",
    "OnDemandPlan",
    "OriginationPlan",
    "PassiveHealthPlan",
    "Probes",
    "ProxyPlan",
    "QueuePlan",
    "RewritePlan",
    "RoutePlan",
    "SendHeader",
    "TargetPlan",
    "TerminationPlan",
    "Timeouts",
    "TlsPlan",
    "TlvMatch",
    "Treatment",
    "ZombiePlan",
]
