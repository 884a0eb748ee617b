"""What the tests of connecting share: a dialer, a resolver and a Connect that the test controls."""

from __future__ import annotations

from twisted.internet import error
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import DialFailed, NameNotResolved
from smartproxy.flow.deadline import Deadlines
from smartproxy.flow.side import Side
from smartproxy.metrics.counters import Counters
from smartproxy.model.address import UnixEndpoint
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import TargetPlan
from smartproxy.security.loops import Loops
from smartproxy.testing import connection
from smartproxy.upstream.attempt import Attempts
from smartproxy.upstream.connect import Connect
from smartproxy.upstream.dial_log import DialLog
from smartproxy.upstream.groups import Groups
from smartproxy.upstream.log_limit import LogLimit
from smartproxy.upstream.member import Members
from smartproxy.upstream.originate_tls import Encrypted
from tests.phases.made import routed


class FakeDialer:
    """A dialer whose attempts the test ends.

    :ivar sources: the local address of each attempt.
    :ivar refusing: hosts that refuse at once.
    :ivar accepting: hosts that accept at once.
    :ivar pending: factory of each attempt not yet ended, by host.
    :ivar cancelled: hosts whose attempts were cancelled.
    """

    connects_at_once = True

    def __init__(self, clock):
        self.clock = clock
        self.dialled = []
        self.sources = []
        self.pending = {}
        self.refusing = set()
        self.accepting = set()
        self.cancelled = []

    def dial(self, to, factory, timeout, source=""):
        self.dialled.append((to, timeout))
        self.sources.append(source)
        host = to.path if isinstance(to, UnixEndpoint) else to.host
        if host in self.refusing:
            factory.clientConnectionFailed(None, Failure(error.ConnectionRefusedError()))
            return None
        self.pending[host] = factory
        if host in self.accepting:
            self.accept(host)
            return None
        return _Connecting(self, host)

    def accept(self, host):
        transport, far = connection(self.clock)
        transport.carry(self.pending.pop(host).buildProtocol(None))
        return far

    def fail(self, host, exception):
        self.pending.pop(host).clientConnectionFailed(None, Failure(exception))


class _Connecting:
    def __init__(self, dialer, host):
        self.dialer = dialer
        self.host = host

    def stopConnecting(self):
        self.dialer.cancelled.append(self.host)


class FakeResolver:
    def __init__(self, **names):
        self.names = names

    def resolve(self, name):
        answer = self.names.get(name.partition(".")[0])
        if answer is None:
            return fail(NameNotResolved(RejectReason.UPSTREAM_UNREACHABLE, "no such name"))
        return answer if isinstance(answer, Deferred) else succeed(answer)


def to(*hosts, port=80):
    return tuple(TargetPlan((host,), port) for host in hosts)


class ConnectCase(SynchronousTestCase):
    """A Connect whose dialer, resolver and TLS are the test's."""

    def setUp(self):
        self.clock = Clock()
        self.dialer = FakeDialer(self.clock)
        self.counters = Counters()
        self.create()

    async def originate(self, side, tls, host, seconds, *, resume=True):
        """TLS that is ready at once, or fails with the next exception of ``handshakes``."""
        to = side.address
        self.originated.append((to.path if isinstance(to, UnixEndpoint) else to.host, host, seconds))
        self.resumes.append(resume)
        failure = self.handshakes.pop(0) if self.handshakes else None
        if failure is not None:
            raise failure
        return Encrypted(Side(), lambda: self.originated.append("closed"))

    async def request_tls(self, side, host, seconds):
        """A target that accepts an SSLRequest, unless it is one of ``unwilling``."""
        self.tls_requests.append((side, host, seconds, len(self.originated)))
        if host in self.unwilling:
            raise DialFailed(RejectReason.TLS_ERROR, "it has none")
        return 8, 1

    def create(self, **names):
        self.originated, self.handshakes, self.resumes = [], [], []
        self.tls_requests, self.unwilling = [], []
        self.loops, self.postgres_routes = Loops(), set()
        self.groups = Groups(Members(), self.clock, lambda: 0.5)
        dial_log = DialLog(LogLimit(), self.clock.seconds)
        attempt = Attempts(
            self.dialer,
            FakeResolver(**names),
            self.clock,
            self.originate,
            self.request_tls,
            self.groups.pending,
            self.loops,
            dial_log,
            Deadlines(self.clock),
        )
        self.connect = Connect(
            attempt, self.clock, self.counters, self.groups, dial_log, self.postgres_routes
        )

    def connecting(self, targets, **more):
        return Deferred.fromCoroutine(self.connect(self.routed(targets=targets, **more)))

    def routed(self, **more):
        """A connection of a route whose targets are configured."""
        facts = routed(**more)
        self.groups.apply({facts.route.group.name: facts.route.group})
        return facts

    def dialled(self):
        return [str(endpoint) for endpoint, _ in self.dialer.dialled]

    def dials(self):
        return sum(self.counters.route("web").dial_seconds.counts)
