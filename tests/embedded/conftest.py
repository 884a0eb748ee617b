"""These tests run in a process of their own: ``pytest -p pytest_twisted -o addopts= tests/embedded``.

They are plain coroutines on the real reactor, as an embedder with pytest-twisted writes them. That plugin
keeps the reactor running for the whole session, and no trial ``TestCase`` can run it beside that; so where
it is not loaded, nothing here is collected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the tests to the run that has the plugin."""
    loaded = config.pluginmanager.hasplugin("twisted") or config.pluginmanager.hasplugin("pytest_twisted")
    return None if loaded else collection_path.name.startswith("test_")
