"""Collect these tests only under pytest-twisted: ``pytest -o addopts= tests/embedded``.

They are plain coroutines on the real reactor, as an embedder with pytest-twisted writes them. The plugin keeps
the reactor running for the whole session, in which no trial ``TestCase`` can run it. So they need a separate
process, and are not collected where the plugin is not loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore the tests of this directory where the plugin is not loaded."""
    loaded = config.pluginmanager.hasplugin("twisted") or config.pluginmanager.hasplugin("pytest_twisted")
    return None if loaded else collection_path.name.startswith("test_")
