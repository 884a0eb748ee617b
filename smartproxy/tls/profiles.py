"""Which ciphers and versions may be negotiated, by the names that Mozilla gave to sets of them.

https://ssl-config.mozilla.org/guidelines/5.7.json: "modern" is TLS 1.3 alone; "intermediate" adds what of TLS 1.2
has forward secrecy and authenticated encryption. Both leave the choice among them to the client, who knows
whether it has AES in hardware. The guideline's DHE ciphers are not in: they need parameters that we do not load, and
no client of the last ten years needs them.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple


class Profile(NamedTuple):
    """What may be negotiated, in OpenSSL's words.

    :ivar ciphers: of TLS 1.2. :ivar ciphersuites: of TLS 1.3. :ivar own_order: whether the order of these decides.
    """

    ciphers: str
    ciphersuites: str
    min_version: Literal["1.2", "1.3"]
    own_order: bool = False


_CIPHERSUITES = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)

PROFILES: Final = {
    "intermediate": Profile(_CIPHERS, _CIPHERSUITES, "1.2"),
    "modern": Profile(_CIPHERS, _CIPHERSUITES, "1.3"),
}
