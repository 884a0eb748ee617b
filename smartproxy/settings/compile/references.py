"""What a configuration refers to outside of itself: files of TLS, and handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.settings.compile.certificates import TlsFiles
from smartproxy.settings.compile.handlers import Handlers

if TYPE_CHECKING:
    from pathlib import Path

    from smartproxy.tls.known_certificates import KnownCertificates


class References:
    """Everything that one configuration refers to, each read once: checked first, compiled then from the same bytes.

    A file that changes between the check and the compilation therefore changes nothing.

    :param former: the certificates that the configuration before has read; only what has changed is read again.
    :ivar tls: certificates, keys, authorities and revocation lists.
    :ivar handlers: handlers that are named by their module.
    """

    def __init__(self, directory: Path, former: KnownCertificates | None = None) -> None:
        self._directory = directory
        self.tls = TlsFiles(directory, former)
        self.handlers = Handlers(directory)

    def path_of(self, name: str) -> str:
        """The path of a file that the configuration names."""
        return str(self._directory / name)
