"""The version, as the installed package says it, and whether its hot path is compiled."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

try:
    __version__ = version("smartproxy")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"


def _build() -> str:
    """``compiled`` where the modules of the hot path were compiled, one of which is looked at; else ``pure``."""
    found = find_spec("smartproxy.wire.verdict")
    is_compiled = found is not None and (found.origin or "").endswith(tuple(EXTENSION_SUFFIXES))
    return "compiled" if is_compiled else "pure"


BUILD = _build()
#: What ``--version`` prints.
VERSION_LINE = f"smartproxy {__version__} ({BUILD})"
