"""Origins of web pages: what a browser sends as ``Origin`` when a page opens a WebSocket (RFC 6455, section 10.2)."""

from __future__ import annotations

import re
from typing import Final

from smartproxy.routing.domains import normalise_pattern

_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^/:@?#*\[\]]+)(?::([0-9]{1,5}))?/?")
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
#: Sent for a page that has no origin, such as a file.
_NULL: Final = "null"
_RULE: Final = 'must be an origin like "https://example.com", without a path, or "null"'


def normalise_origin(written: object) -> str:
    """An origin of a configuration as a browser sends it (RFC 6454, section 6.2): in lower case, without its default port.

    :raises ValueError: where it is none.
    """
    if written == _NULL:
        return _NULL
    found = _ORIGIN.fullmatch(written.lower()) if isinstance(written, str) else None
    if found is None:
        raise ValueError(_RULE)
    scheme, host, port = found.groups()
    try:
        name = normalise_pattern(host.strip("[]"))
    except ValueError:
        raise ValueError(_RULE) from None
    origin = f"{scheme}://[{name}]" if ":" in name else f"{scheme}://{name}"
    return origin if port in {None, _DEFAULT_PORTS.get(scheme)} else f"{origin}:{port}"
