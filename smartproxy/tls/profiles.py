"""The TLS versions and ciphers that may be negotiated, as Mozilla's named profiles.

https://ssl-config.mozilla.org/guidelines/5.7.json: "modern" is TLS 1.3 only; "intermediate" adds the suites of TLS 1.2
with forward secrecy and authenticated encryption. Both leave the choice to the client, which knows whether it has AES
in hardware. The guideline's DHE suites are left out: they need parameters that smartproxy does not load, and no client
of the last ten years needs them.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple


class Profile(NamedTuple):
    """What may be negotiated, in OpenSSL's notation.

    :ivar ciphers: the suites of TLS 1.2.
    :ivar ciphersuites: the suites of TLS 1.3.
    :ivar min_version: the lowest TLS version.
    :ivar own_order: whether this order decides, and not the client's.
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
