"""Challenges, and what makes their answers visible to the directory."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

from smartproxy.acme.jose import base64url

if TYPE_CHECKING:
    from smartproxy.model.plan import ChallengeType


class Challenge(NamedTuple):
    """Something to show, so that the directory sees who controls a name (RFC 8555, 8).

    :ivar identifier: the name or address, in lower case; for a wildcard without its ``*.``.
    :ivar token: names the challenge: characters of base64url.
    :ivar key_authorization: what ``http-01`` is answered with; the others are answered with its digest.
    """

    type: ChallengeType
    identifier: str
    token: str
    key_authorization: str

    @property
    def digest(self) -> bytes:
        """The SHA-256 in the certificate for ``tls-alpn-01`` (RFC 8737, 3)."""
        return hashlib.sha256(self.key_authorization.encode("ascii")).digest()

    @property
    def dns_value(self) -> str:
        """The value of the TXT record for ``dns-01`` (RFC 8555, 8.4)."""
        return base64url(self.digest)


class Solver(Protocol):
    """Makes the answers of challenges visible. May be asked for several at once, and for the same name twice."""

    async def present(self, challenge: Challenge) -> None:
        """Return when the directory can see the answer. What is raised fails the order."""

    async def cleanup(self, challenge: Challenge) -> None:
        """Remove the answer: always called after ``present``, also if that failed. What is raised is logged."""
