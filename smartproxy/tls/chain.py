"""What is wrong with the order and the completeness of a certificate's chain.

A server sends its certificate and then the intermediates, each followed by its issuer (RFC 8446, 4.4.2). Most clients put
another order right, and some find a missing intermediate by themselves; the others reject the certificate. Whether the
issuer of the last one is trusted is for the client to decide, so a chain without a root is complete.
"""

from __future__ import annotations

import ssl
import warnings
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: Where systems keep the authorities that they trust: Debian and Alpine, Fedora, OpenBSD and macOS.
_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
)  # fmt: skip
_END: Final = b"-----END CERTIFICATE-----"


def chain_problem(chain: Sequence[x509.Certificate], is_trusted: Callable[[x509.Name], bool]) -> str:
    """What clients may reject in a chain, leaf first, and what to add; empty if nothing.

    :param is_trusted: whether clients trust the authority with that name, so that its certificate need not be sent.
    """
    path, strangers = _path(chain)
    end = path[-1]
    is_open = end.issuer != end.subject and not is_trusted(end.issuer)
    # With an intermediate, the issuer of the last certificate is taken for a root.
    missing = is_open and (len(path) == 1 or bool(strangers))
    problems = [f"{_name(one)} in its chain is not an issuer of it" for one in strangers]
    if missing:
        problems.append(
            f"the certificate of its issuer {end.issuer.rfc4514_string()} is missing from its chain"
        )
    wrong = _first_out_of_order([one for one in chain if one not in strangers], path)
    if wrong is not None:
        before, after = wrong
        problems.append(f"its chain is in the wrong order: {_name(after)} must follow {_name(before)}")
    return "; ".join(problems)


@cache
def system_authorities() -> frozenset[x509.Name]:
    """The names of the authorities that this system trusts, as far as they can be found."""
    file = next((name for name in (ssl.get_default_verify_paths().cafile, *_BUNDLES) if _is_file(name)), None)
    if file is None:
        return frozenset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some old roots are not as RFC 5280 wants them
        return frozenset(_subjects(Path(file).read_bytes()))


def _subjects(pem: bytes) -> Iterator[x509.Name]:
    for part in pem.split(_END)[:-1]:
        with suppress(ValueError):
            yield x509.load_pem_x509_certificate(part + _END).subject


def _is_file(name: str | None) -> bool:
    return name is not None and Path(name).is_file()


def _path(
    chain: Sequence[x509.Certificate],
) -> tuple[list[x509.Certificate], list[x509.Certificate]]:
    """The certificates from the leaf to its last known issuer; and those that have issued none of the chain."""
    path, rest = [chain[0]], list(chain[1:])
    while (above := next((one for one in rest if _issued(one, path[-1])), None)) is not None:
        path.append(above)
        rest.remove(above)
    # A cross-signed root, and its own issuer, are on another way up.
    return path, [one for one in rest if not any(_issued(one, other) for other in chain if other is not one)]


def _first_out_of_order(
    chain: Sequence[x509.Certificate], path: Sequence[x509.Certificate]
) -> tuple[x509.Certificate, x509.Certificate] | None:
    """A certificate of ``path`` and its issuer, where that stands before it in ``chain``."""
    places = {one: place for place, one in enumerate(chain)}
    return next(((one, above) for one, above in pairwise(path) if places[above] < places[one]), None)


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    if issuer.subject != certificate.issuer:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except InvalidSignature:
        return False
    except Exception:  # an algorithm that cryptography does not support: the name decides
        return True
    return True


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()
