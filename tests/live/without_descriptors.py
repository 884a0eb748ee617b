"""Runs twistd on a reactor that cannot watch descriptors, where a proxy uses Twisted's own transports.

::

    python without_descriptors.py twistd -n ...
"""

from __future__ import annotations

import sys

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.main import installReactor
from twisted.scripts.twistd import run
from zope.interface import classImplementsOnly, implementedBy

if __name__ == "__main__":
    provided = [each for each in implementedBy(EPollReactor).flattened() if each is not IReactorFDSet]
    classImplementsOnly(EPollReactor, *provided)
    installReactor(EPollReactor())
    sys.argv = ["twistd", *sys.argv[sys.argv.index("-n") :]]
    run()
