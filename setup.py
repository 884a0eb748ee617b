"""The compiled build, which is optional: ``SMARTPROXY_MYPYC=1 pip install .`` compiles the modules below with mypyc.

Without this variable nothing is compiled and no compiler is needed; all metadata is in ``setup.cfg``. Compiled or not, the
modules are the same Python source. ``docs/packaging.rst`` says what the compiled build gains, and what a compiled module must not do.
"""

from __future__ import annotations

import os
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

from setuptools import setup

#: What runs for each connection, each request or each chunk, by package. Not the subclasses of Twisted's protocols, factories
#: and ports, nor what runs at start, at a reload or once in a while.
COMPILED = {
    "connections": "cleanup client_counts registry shares timeouts",
    "flow": "coroutines deadline event pace states",
    "http": """
        body client_connection downstream1 errors forward forwarded header_rules memo refusals reply request_body rewrite
        states templates terms tracing upgrade upstream1
    """,
    "metrics": "counters histogram rates requests sketch",
    "model": "address ending exchange outcome record timestamps",
    "net": """
        bare_sockets dial half_close keep_alive lends_socket on_socket outgoing poller stream stream_states
    """,
    "observe": "access_log connection_fields line_format",
    "phases": "admit detect exchange look_inside proxy_header relay route",
    "relays": "copying half pipes sockets splice states tls",
    "routing": "domains listener_routes paths queries table",
    "security": "address_set",
    "serving": "connection protocols served streams",
    "upstream": "attempt budget choice connect dial_log proxy_header tiers",
    "wire": """
        client_hello host http_answer http_chunked http_fields http_framing http_head http_response postgres proxy_detect
        proxy_header proxy_tlv proxy_v1 proxy_v2 sniff tls_alert tls_record verdict
    """,
}

#: Commands that build nothing.
_METADATA = {"dist_info", "egg_info", "sdist"}


def modules() -> list[str]:
    """The paths of the compiled modules."""
    return [
        str(Path("smartproxy", package, f"{name}.py"))
        for package, names in COMPILED.items()
        for name in names.split()
    ]


def compiled() -> dict[str, Any]:
    """The arguments of ``setup`` for a compiled build."""
    metadata = ConfigParser()
    metadata.read("setup.cfg", encoding="utf-8")
    options = metadata["options"]["install_requires"], metadata["options.extras_require"]["compiled"]
    # mypyc checks types first, for which it needs those of the dependencies.
    requirements = [line for text in options for line in text.splitlines() if line]
    if _METADATA.intersection(sys.argv):
        return {"setup_requires": requirements}
    from mypyc.build import mypycify  # noqa: PLC0415 - only where it is needed

    return {"ext_modules": mypycify(modules(), group_name="smartproxy", debug_level="0")}


setup(**compiled() if os.environ.get("SMARTPROXY_MYPYC") == "1" else {})
