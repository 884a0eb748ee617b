"""Certificates, contexts and OCSP responses of a proxy, as far as they need no event loop.

::

    material = TlsMaterial()
    contexts = material.prepare(plan)       # may run in a thread
    material.store.apply(contexts.certificates)
    contexts.make_all()                     # before worker processes are forked: they then share them

The keys of session tickets belong to a context. So where several processes serve the same listeners, a client can resume
its session in any of them only if they have the same contexts, which a fork of the process that has made them gives them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from smartproxy.tls.ocsp.staples import Staples
from smartproxy.tls.server_contexts import ServerContextCache, ServerContexts
from smartproxy.tls.store import CertificateStore

if TYPE_CHECKING:
    from smartproxy.model.plan import ProxyPlan


class TlsMaterial:
    """What TLS with clients is made of.

    :ivar store: the certificates in force.
    :ivar staples: their OCSP responses.
    :ivar cache: contexts by what they are made of.
    """

    def __init__(self) -> None:
        self.store = CertificateStore()
        self.staples = Staples(time.time)
        self.cache = ServerContextCache(self.staples.source)

    def prepare(self, plan: ProxyPlan) -> ServerContexts:
        """The contexts of ``plan``, not in force yet. Nothing of the configuration in force changes."""
        return ServerContexts(plan, self.store.prepare(plan), self.cache)
