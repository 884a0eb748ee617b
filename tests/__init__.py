"""Tests of smartproxy: one package for each package of ``smartproxy``, and ``live`` for real peers.

Hypothesis fails an example that takes longer than 200 ms, or whose data take long to generate. On a busy machine any
example may, so that the tests have no such limits. This is set here because pytest and trial both import this package
before a test module; a profile in ``conftest.py`` would hold under pytest only. It inherits whatever profile is in
force, such as Hypothesis' own for CI.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("smartproxy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("smartproxy")
