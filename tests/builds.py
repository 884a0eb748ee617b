"""Tests that cannot run over the compiled build (docs/packaging.rst).

In it, a call between compiled modules does not look the function up, attributes of instances and classes are fixed, and a
``float`` is a number of C. So a test cannot replace a method or a function there, nor pass a stand-in for a compiled class.
"""

from __future__ import annotations

from unittest import skipIf

from smartproxy._version import BUILD

only_pure = skipIf(BUILD == "compiled", "replaces what compiled code does not look up at run time")
