"""An index of certificates by name. A search costs the same for one name and for 1,000.

A wildcard covers exactly one label (RFC 9525, 6.3). A certificate with the exact name is preferred to one with a
wildcard. Among several for the same name, such as RSA and ECDSA, the first in order of key type that the client can
verify is chosen, then the last to expire. One that has expired is chosen only where every other one has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.tls.certificate import KeyType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from smartproxy.flow.pace import Pace
    from smartproxy.tls.certificate import Certificate
    from smartproxy.wire.client_hello import ClientHello


_PREFERENCE: Final = {key_type: number for number, key_type in enumerate(KeyType)}


class NameIndex:
    """An immutable index of certificates.

    :param pace: called between two certificates.
    :ivar first: the first certificate given and the others with its name: for clients that send no name.
    """

    def __init__(self, certificates: Iterable[Certificate], pace: Pace) -> None:
        given = list(pace.over(certificates))
        self._names: dict[str, list[Certificate]] = {}
        keys = {id(certificate): _sort_key(certificate) for certificate in pace.over(given)}
        for certificate in pace.over(sorted(given, key=lambda one: keys[id(one)])):
            for name in certificate.names:
                self._names.setdefault(name, []).append(certificate)
        self._any = [certificate for certificate in given if certificate.any_name]
        self.first = self.carrying(given[0].names[0]) if given and given[0].names else given[:1]

    def find(self, name: str, hello: ClientHello) -> Certificate | None:
        """The certificate for a client that asks for ``name``, which is in lower case and without a final dot."""
        names = self._names
        exact = names.get(name, ())
        wild = names.get("*." + name.partition(".")[2], ())
        return (
            first_valid((*exact, *wild) if wild else exact, hello)
            or first_usable(exact, hello)
            or first_usable(wild, hello)
            # The client can verify none of them: with one, the handshake fails with an alert that says so.
            or next(iter(exact or wild), None)
            or next(iter(self._any), None)
        )

    def carrying(self, name: str) -> list[Certificate]:
        """The certificates that have ``name``, a host name or a wildcard, among their names."""
        return self._names.get(name, [])


def best_of(certificates: Sequence[Certificate], hello: ClientHello) -> Certificate | None:
    """The certificate for the client of ``hello``: one that it can verify, if there is such, and that has not expired."""
    return (
        first_valid(certificates, hello)
        or first_usable(certificates, hello)
        or next(iter(certificates), None)
    )


def first_usable(certificates: Iterable[Certificate], hello: ClientHello) -> Certificate | None:
    """The first with a key that the client of ``hello`` can verify."""
    return next((one for one in certificates if one.key_type.fits(hello)), None)


def first_valid(certificates: Iterable[Certificate], hello: ClientHello) -> Certificate | None:
    """As :func:`first_usable`, of those that have not expired."""
    return next((one for one in certificates if not one.has_expired and one.key_type.fits(hello)), None)


def _sort_key(certificate: Certificate) -> tuple[int, float]:
    return _PREFERENCE[certificate.key_type], -certificate.not_after.timestamp()
