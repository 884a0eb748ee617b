"""OpenSSL contexts and sessions for connections to targets.

::

    clients = ClientContexts()
    connection = clients.connection(target.tls, name)       # over memory BIOs, before its handshake
    if clients.resume(connection, target.tls, name): ...    # whether there is a session that it will offer
    clients.verify(connection, target.tls, name)            # after the handshake
    clients.keep(connection, target.tls, name)              # after its end: the session for the next connection
    clients.forget(target.tls, name)                        # a target that refuses to resume it
    clients.retain(plans)                                   # after a reload: the TLS of all targets in force

A name is that of the target, as :meth:`~smartproxy.model.plan.OriginationPlan.name_for` gives it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import idna
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address

from smartproxy.errors import HandshakeFailed
from smartproxy.tls.certificate import Certificate
from smartproxy.tls.context_factory import client_context
from smartproxy.wire.host import host_name, is_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smartproxy.model.plan import OriginationPlan

#: Contexts kept of targets that a callable gives; the one that was used longest ago is dropped. The authorities of a system
#: take about a megabyte in each.
_MAX_CHOSEN: Final = 64
#: Sessions kept, one for each context and name; the least recently stored is evicted.
_MAX_SESSIONS: Final = 1024


class ClientContexts:
    """Contexts by the TLS options of targets, and sessions by context and name. It lives as long as the proxy.

    Options that no configured target has are those of targets that a callable gives, of which there may be any number.
    """

    def __init__(self) -> None:
        self._configured: frozenset[OriginationPlan] = frozenset()
        self._contexts: dict[OriginationPlan, SSL.Context] = {}
        self._chosen: OrderedDict[OriginationPlan, SSL.Context] = OrderedDict()
        self._sessions: OrderedDict[tuple[SSL.Context, str], SSL.Session] = OrderedDict()

    def connection(self, tls: OriginationPlan, name: str) -> SSL.Connection:
        """A connection to ``name`` over memory BIOs.

        :raises HandshakeFailed: if ``name`` is not a host name or an address.
        :raises OpenSSL.SSL.Error: if the system's certificate store is missing or cannot be read.
        """
        connection = SSL.Connection(self._context(tls), None)
        connection.set_connect_state()
        if not is_address(name):  # server_name is for DNS names only (RFC 6066, 3)
            connection.set_tlsext_host_name(_wire_name(name))
        return connection

    def resume(self, connection: SSL.Connection, tls: OriginationPlan, name: str) -> bool:
        """Offer the session of the former connection to ``name``. Returns whether there is one."""
        session = self._sessions.get((connection.get_context(), name)) if tls.session_reuse else None
        if session is None:
            return False
        connection.set_session(session)
        return True

    def verify(self, connection: SSL.Connection, tls: OriginationPlan, name: str) -> None:
        """Compare the target's certificate with its name. The handshake has already verified the chain.

        :raises HandshakeFailed: if the certificate is not for that name.
        """
        if not tls.verify:
            return
        try:
            if is_address(name):
                verify_ip_address(connection, name)
            else:
                verify_hostname(connection, _wire_name(name).decode())
        except (VerificationError, CertificateError):
            raise HandshakeFailed(f"certificate of the target: is not for {name}") from None
        except ValueError:  # a callable has given something like 1234
            raise HandshakeFailed(f"no certificate can be for {name!a}") from None

    def forget(self, tls: OriginationPlan, name: str) -> None:
        """Drop the session of ``name``."""
        self._sessions.pop((self._context(tls), name), None)

    def keep(self, connection: SSL.Connection, tls: OriginationPlan, name: str) -> None:
        """Keep the session of a verified connection that has ended, for the next one to ``name``."""
        if not tls.session_reuse:
            return
        # OpenSSL marks a session as not resumable when its connection is freed without a close_notify sent.
        connection.set_shutdown(connection.get_shutdown() | SSL.SENT_SHUTDOWN)
        session = connection.get_session()
        if session is None:
            return
        key = connection.get_context(), name
        self._sessions[key] = session
        self._sessions.move_to_end(key)
        if len(self._sessions) > _MAX_SESSIONS:
            self._sessions.popitem(last=False)

    def retain(self, plans: Iterable[OriginationPlan]) -> None:
        """Drop the contexts and sessions of all other TLS options. Open connections keep theirs alive.

        Those of chosen targets are kept, as far as there is room: the callables may give the same targets again.
        """
        self._configured = frozenset(map(_context_key, plans))
        self._contexts = {key: context for key, context in self._contexts.items() if key in self._configured}
        self._drop_sessions()

    def _drop_sessions(self) -> None:
        contexts = {*self._contexts.values(), *self._chosen.values()}
        for key in [key for key in self._sessions if key[0] not in contexts]:
            del self._sessions[key]

    def _context(self, tls: OriginationPlan) -> SSL.Context:
        key = _context_key(tls)
        context = self._contexts.get(key)
        if context is not None:
            return context
        if key not in self._configured:
            return self._chosen_context(key)
        context = self._chosen.pop(key) if key in self._chosen else _new_context(key)
        self._contexts[key] = context
        return context

    def _chosen_context(self, key: OriginationPlan) -> SSL.Context:
        context = self._chosen.get(key)
        if context is None:
            context = self._chosen[key] = _new_context(key)
            if len(self._chosen) > _MAX_CHOSEN:
                self._chosen.popitem(last=False)
                self._drop_sessions()
        self._chosen.move_to_end(key)
        return context


def _new_context(tls: OriginationPlan) -> SSL.Context:
    return client_context(tls, None if tls.certificate is None else Certificate(tls.certificate))


def _context_key(tls: OriginationPlan) -> OriginationPlan:
    """A name and a session are set on the connection, so options that differ in them alone share a context."""
    return replace(tls, server_name=None, client_name=False, session_reuse=True)


def _wire_name(name: str) -> bytes:
    """A name as SNI carries it: A-labels, without a final dot (RFC 6066, 3).

    :raises HandshakeFailed: if it is not a host name.
    """
    plain = name.removesuffix(".")
    try:
        raw = plain.encode("ascii") if plain.isascii() else idna.encode(plain, uts46=True)
    except UnicodeError:
        raw = b""
    if host_name(raw) is None:
        raise HandshakeFailed(f"no certificate can be for {name!a}")
    return raw
