"""The endpoints of certificates: those in force, those still to be issued, and ordering one now.

::

    GET  /api/v1/certificates
    POST /api/v1/certificates/%2A.a.example/renew     # any name of an automatic certificate, percent-encoded

``renew`` replies before the certificate is issued: proving control over its names takes seconds to minutes. A client reads
the list until ``acme.state`` of each certificate with the name is not ``ordering`` any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.admin.request import json_reply, refusal
from smartproxy.errors import NotAutomatic, UnknownCertificate
from smartproxy.model.timestamps import Moment
from smartproxy.routing.domains import normalise_pattern
from smartproxy.wire.host import is_address, normalise_address

if TYPE_CHECKING:
    from smartproxy.admin.control import IProxyControl
    from smartproxy.admin.request import AdminRequest, Reply
    from smartproxy.admin.router import Methods
    from smartproxy.model.certificate_status import ShownAcme, ShownCertificate, ShownStaple


class CertificatesApi:
    """``/api/v1/certificates``."""

    def __init__(self, control: IProxyControl) -> None:
        self._control = control

    def table(self) -> dict[str, Methods]:
        """The table of paths for the router."""
        return {
            "/api/v1/certificates": {"GET": self.certificates},
            "/api/v1/certificates/*/renew": {"POST": self.renew},
        }

    async def certificates(self, _request: AdminRequest) -> Reply:
        """All certificates in the order of their expiry; those that are not issued yet come first."""
        shown = sorted(await self._control.certificates(), key=_expiry)
        return json_reply({"certificates": [_certificate(one) for one in shown]})

    async def renew(self, request: AdminRequest) -> Reply:
        """Order the certificates that have a name now. 404 for an unknown name; 409 for a certificate that is not automatic."""
        name = _spelt(request.items[0])
        try:
            names = await self._control.renew_certificate(name)
        except UnknownCertificate as unknown:
            return refusal(404, str(unknown))
        except NotAutomatic as other:
            return refusal(409, str(other))
        return json_reply({"name": name, "names": list(names), "state": "ordering"}, 202)


def _spelt(name: str) -> str:
    """A name as certificates spell it: in lower case, without its final dot, labels as A-labels, addresses normalised."""
    try:
        return normalise_address(name) if is_address(name) else normalise_pattern(name)
    except ValueError:
        return name  # no certificate has it


def _expiry(shown: ShownCertificate) -> float:
    return 0.0 if shown.expires_at is None else shown.expires_at


def _certificate(shown: ShownCertificate) -> dict[str, object]:
    return {
        "names": list(shown.names),
        "source": shown.source,
        "kind": shown.kind,
        "notAfter": _date(shown.expires_at),
        "fingerprint": shown.fingerprint or None,
        "default": shown.default,
        "ocsp": _staple(shown.ocsp),
        "acme": None if shown.acme is None else _acme(shown.acme),
    }


def _acme(shown: ShownAcme) -> dict[str, object]:
    return {
        "state": shown.state,
        "nextTry": _date(shown.next_try),
        "lastError": shown.last_error or None,
        "lastErrorAt": _date(shown.last_error_at),
        "failures": shown.failures,
        "onDemand": shown.on_demand,
    }


def _staple(shown: ShownStaple) -> dict[str, object]:
    return {"status": shown.status, "nextUpdate": _date(shown.next_update), "detail": shown.detail}


def _date(at: float | None) -> str | None:
    return None if at is None else Moment(at, 0.0).iso(0.0)
