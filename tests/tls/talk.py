"""TLS connections between two ends in memory, and plans for their contexts."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from OpenSSL._util import lib
from OpenSSL.crypto import X509

from smartproxy.model.plan import MatchPlan, ProxyPlan, RoutePlan, TerminationPlan, TlsPlan
from smartproxy.tls.server_contexts import ServerContextCache, ServerContexts
from smartproxy.tls.store import CertificateStore, ConfiguredCertificates
from smartproxy.wire import client_hello

if TYPE_CHECKING:
    from smartproxy.model.plan import CertificatePlan
    from tests.tls.made import Authority, Leaf


def route(*certificates: CertificatePlan, name: str = "web", **options: Any) -> RoutePlan:
    return RoutePlan(
        name, 0, MatchPlan((range(443, 444),)), tls=TerminationPlan(certificates=certificates, **options)
    )


def proxy(*routes: RoutePlan, **tls: Any) -> ProxyPlan:
    return ProxyPlan(routes, tls=TlsPlan(**tls))


def contexts(plan: ProxyPlan) -> ServerContexts:
    """The contexts of a configuration that is never reloaded."""
    return ServerContexts(plan, ConfiguredCertificates(plan), ServerContextCache())


class InForce:
    """A store, and the contexts of the configuration in force, as a proxy keeps them over reloads."""

    def __init__(self, plan: ProxyPlan | None = None) -> None:
        self.store = CertificateStore()
        self.cache = ServerContextCache()
        self.store.on_change.append(self._drop_unused)
        if plan is not None:
            self.reload(plan)

    def reload(self, plan: ProxyPlan) -> ServerContexts:
        self.contexts = ServerContexts(plan, self.store.prepare(plan), self.cache)
        self.store.apply(self.contexts.certificates)
        return self.contexts

    def _drop_unused(self) -> None:
        self.contexts.drop_unused()


def hello(name: str | None = "a.example", alpn: tuple[str, ...] = (), **more: Any) -> Any:
    return client_hello.parse(client_hello.build(name, alpn, **more)).value


def client(
    authority: Authority | None = None,
    name: str | None = "a.example",
    alpn: tuple[bytes, ...] = (),
    *,
    most: int = 0,
    ciphers: bytes = b"",
    certificate: Leaf | None = None,
    context: SSL.Context | None = None,
) -> SSL.Connection:
    """A client that trusts ``authority``. ``most`` is the highest version that it supports."""
    context = context or client_context(authority, alpn, most=most, ciphers=ciphers, certificate=certificate)
    made = SSL.Connection(context, None)
    made.set_connect_state()
    if name is not None:
        made.set_tlsext_host_name(name.encode())
    return made


def client_context(
    authority: Authority | None = None,
    alpn: tuple[bytes, ...] = (),
    *,
    most: int = 0,
    ciphers: bytes = b"",
    certificate: Leaf | None = None,
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(most)
    if ciphers:
        context.set_cipher_list(ciphers)
    if alpn:
        context.set_alpn_protos(list(alpn))
    if certificate is not None:
        context.use_certificate(certificate.certificate)
        context.use_privatekey(certificate.key)
        for above in certificate.above:
            context.add_extra_chain_cert(above)
    if authority is not None:
        context.get_cert_store().add_cert(X509.from_cryptography(authority.certificate))
        context.set_verify(SSL.VERIFY_PEER)
    return context


def server_for(contexts: ServerContexts, to: RoutePlan, connecting: SSL.Connection) -> SSL.Connection:
    """The server's end for a client, on the context for the ClientHello that it sends."""
    try:
        connecting.do_handshake()
    except SSL.WantReadError:
        sent = connecting.bio_read(1 << 16)
    context = contexts.for_hello(to, client_hello.parse(sent).value)
    made = SSL.Connection(context, None)
    made.set_accept_state()
    made.bio_write(sent)
    return made


def shake(one: SSL.Connection, other: SSL.Connection) -> None:
    """Complete the handshake of both ends. What one raises is raised here once the other has its alert."""
    for _ in range(8):
        for here, there in ((one, other), (other, one)):
            try:
                here.do_handshake()
            except SSL.WantReadError:
                pass
            except Exception:
                carry(here, there)
                raise
            carry(here, there)
    for end in (one, other):
        with suppress(SSL.WantReadError):
            end.recv(1)  # processes what follows the handshake: tickets, or the server's alert


def carry(here: SSL.Connection, there: SSL.Connection) -> None:
    with suppress(SSL.WantReadError):
        there.bio_write(here.bio_read(1 << 16))


def connected(contexts: ServerContexts, to: RoutePlan, connecting: SSL.Connection) -> SSL.Connection:
    """The server's end, after the handshake."""
    accepting = server_for(contexts, to, connecting)
    shake(accepting, connecting)
    return accepting


def resumed(connection: SSL.Connection) -> bool:
    """Whether a session was resumed. pyOpenSSL has no public function for it."""
    return bool(lib.SSL_session_reused(connection._ssl))
