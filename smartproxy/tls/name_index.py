"""Certificates by the names that they carry: 1,000 names cost what one does.

A wildcard stands for exactly one label (RFC 9525, 6.3). A certificate that carries the name itself goes before one
whose wildcard covers it; among several for one name (RSA and ECDSA) the client's offer decides, and then the
one that is good for longest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smartproxy.tls.certificate import Certificate
    from smartproxy.wire.client_hello import ClientHello


class NameIndex:
    """An index of certificates, made once.

    :ivar first: the first of the configuration, with the others that carry its name: for clients that ask for none.
    """

    def __init__(self, certificates: Iterable[Certificate]) -> None:
        given = list(certificates)
        self._names: dict[str, list[Certificate]] = {}
        for certificate in sorted(given, key=_preferred):
            for name in certificate.names:
                self._names.setdefault(name, []).append(certificate)
        self._any = [certificate for certificate in given if certificate.any_name]
        self.first = self.carrying(given[0].names[0]) if given and given[0].names else given[:1]

    def find(self, name: str, hello: ClientHello) -> Certificate | None:
        """The one to show to a client that asks for ``name``, lower case and without a final dot."""
        names = self._names
        exact = names.get(name, ())
        wild = names.get("*." + name.partition(".")[2], ())
        return (
            first_usable(exact, hello)
            or first_usable(wild, hello)
            or next(iter(exact or wild), None)  # it ends in an alert that says which
            or next(iter(self._any), None)
        )

    def carrying(self, name: str) -> list[Certificate]:
        """Those that carry ``name`` as it is written, a wildcard too."""
        return self._names.get(name, [])


def first_usable(certificates: Iterable[Certificate], hello: ClientHello) -> Certificate | None:
    """The first whose key such a client can use."""
    return next((one for one in certificates if one.kind.fits(hello)), None)


def _preferred(certificate: Certificate) -> tuple[int, float]:
    return list(type(certificate.kind)).index(certificate.kind), -certificate.not_after.timestamp()
