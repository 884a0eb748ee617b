"""Reactors that cannot watch descriptors: a proxy uses their transports instead of its poller's."""

from __future__ import annotations

from zope.interface import Interface

from smartproxy.proxy import runtime


class _INothing(Interface):
    """No reactor provides this."""


def watch_no_descriptors(case):
    """Have the proxies of this test take their reactor for one without ``IReactorFDSet``."""
    case.patch(runtime, "IReactorFDSet", _INothing)
