"""Automatic certificates from outside: what a program that embeds the proxy can see and do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail

from smartproxy.errors import AcmeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.acme.events import CertificateEvent
    from smartproxy.acme.service import AcmeService


class AutomaticCertificates:
    """The certificates that are ordered by ACME: ``proxy.acme``.

    ::

        proxy.acme.on_event.append(changed)         # changed(event), a CertificateEvent
        proxy.acme.renew("a.example")               # now, and not when it is due
        await proxy.acme.roll_account_key()

    :ivar on_event: a list of callables. Each is called with a :class:`CertificateEvent` when an order has ended. They are called
        in the thread of the reactor and must return at once. What one raises is logged, and nothing else comes of it.
    """

    def __init__(self, service: AcmeService) -> None:
        self._service = service
        self.on_event: list[Callable[[CertificateEvent], object]] = service.on_event

    def renew(self, name: str) -> tuple[str, ...]:
        """Order every certificate that has ``name`` now; an event tells what comes of each. Returns the names of all of them.

        :raises UnknownCertificate: a ``LookupError``, where no certificate has the name.
        :raises NotAutomatic: a ``ValueError``, where it is not automatic.
        """
        return self._service.renew(name)

    def roll_account_key(self) -> Deferred[None]:
        """Give the account a new key, and use it from now on (RFC 8555, 7.3.5).

        :return: fires when it is done; fails with an :class:`~smartproxy.SmartProxyError` that says why it is not.
        """
        directory = self._service.directory
        if directory is None:
            return fail(AcmeError("the configuration has no automatic certificates"))
        return Deferred.fromCoroutine(directory.registration.roll_key())
