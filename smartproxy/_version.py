"""The version, as the installed package says it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("smartproxy")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"
