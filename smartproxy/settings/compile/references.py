"""What a configuration refers to outside of itself: files of TLS, and handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from smartproxy.model.address import UnixEndpoint
from smartproxy.settings.compile.address_lists import ListedAddresses
from smartproxy.settings.compile.certificates import TlsFiles
from smartproxy.settings.compile.error_pages import ErrorPages
from smartproxy.settings.compile.handlers import Handlers
from smartproxy.settings.compile.targets_files import TargetsFiles

if TYPE_CHECKING:
    from pathlib import Path

    from smartproxy.tls.known_certificates import KnownCertificates


class ReadContent(NamedTuple):
    """What was read of the files that a configuration names: another one reads only what has changed since.

    :ivar certificates: of every file of TLS.
    """

    certificates: KnownCertificates | None = None
    addresses: ListedAddresses | None = None
    targets_files: TargetsFiles | None = None
    error_pages: ErrorPages | None = None


#: Of a configuration without one before.
NOTHING_READ = ReadContent()


class References:
    """Everything that one configuration refers to, each read once: checked first, compiled then from the same bytes.

    A file that changes between the check and the compilation therefore changes nothing.

    :param former: what the configuration before has read.
    :param same: whether that configuration is this one, which was found valid: an address list or a file of targets that
        has become unusable since then has its former content.
    :ivar tls: certificates, keys, authorities and revocation lists.
    :ivar handlers: handlers that are named by their module.
    :ivar addresses: address lists, with those that are in files.
    :ivar targets_files: files of targets.
    :ivar error_pages: pages for answers of the proxy itself.
    """

    def __init__(self, directory: Path, former: ReadContent = NOTHING_READ, *, same: bool = False) -> None:
        in_use = former if same else NOTHING_READ
        self._directory = directory
        self.tls = TlsFiles(directory, former.certificates)
        self.handlers = Handlers(directory)
        self.addresses = ListedAddresses(directory, in_use.addresses, former.addresses)
        self.error_pages = ErrorPages(directory, in_use.error_pages, former.error_pages)
        self.targets_files = TargetsFiles(in_use.targets_files, former.targets_files)

    @property
    def content(self) -> ReadContent:
        """What was read so far."""
        return ReadContent(self.tls.known, self.addresses, self.targets_files, self.error_pages)

    def again(self) -> References:
        """To read a file of targets again, with the TLS files that it names."""
        return References(self._directory, ReadContent(self.tls.known))

    def path_of(self, name: str) -> str:
        """The path of a file that the configuration names."""
        return str(self._directory / name)

    def socket_of(self, path: str) -> UnixEndpoint:
        """The unix socket that the configuration names; an abstract one begins with ``@``."""
        return UnixEndpoint(path if path.startswith("@") else str((self._directory / path).absolute()))
