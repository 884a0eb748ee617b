"""The whole of a configuration, and what stands at its top level besides routes.

::

    settings = Settings.load("smartproxy.yaml")     # ConfigurationError tells every problem, with its line
    plan = settings.compile()                       # what the path works with

From Python, with the same names in snake_case, a table that is malformed raises pydantic's ``ValidationError`` where
it is made; what only shows in the whole (a name used twice, an unreachable route) is for ``check`` and ``compile``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PrivateAttr, Tag

from smartproxy.errors import ConfigurationError
from smartproxy.settings import loading, schema
from smartproxy.settings.certificates import TlsFiles
from smartproxy.settings.checks import conflicts
from smartproxy.settings.compile import plans
from smartproxy.settings.problems import refusal
from smartproxy.settings.reading.locations import Source  # noqa: TC001 - pydantic evaluates annotations
from smartproxy.settings.tables.base import ConnectionKeys, Table
from smartproxy.settings.tables.route import Defaults, Route, SendProxyProtocol
from smartproxy.settings.tables.tls import Tls, Unsettled
from smartproxy.settings.tables.types import (
    FLAG_OR_TABLE,
    AddressList,
    BindAddress,
    Count,
    Duration,
    FilledText,
    Flag,
    Interval,
    PortNumber,
    Positive,
    Size,
    Workers,
    shaped,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from smartproxy.model.plan import ProxyPlan


class ZombieDetection(Table):
    """When a connection that looks alive is taken for dead."""

    interval: Interval = "10s"
    """How often to look."""
    half_grace_tls: Duration = "5m"
    """One socket is gone and the other is not, with TLS."""
    half_grace_plain: Duration = "30s"
    """Likewise without TLS."""
    stuck_tls: Duration = "5m"
    """Data has come in, none has ever gone back, and nothing moves, with TLS."""
    stuck_plain: Duration = "60s"
    """Likewise without TLS."""


class CleanupSettings(Table):
    """How connections that have ended are put away."""

    batch_size: Positive = 100
    """At once, at most; as many waiting start a batch."""
    delay: Duration = "100ms"
    """How long the first of them waits for others."""


class MetricsSettings(Table):
    """Throughput over time."""

    sample_interval: Interval = "1s"
    """How often a sample is taken."""
    retention: Interval = "1h"
    """How long samples are kept."""


class AdminSettings(Table):
    """Where the metrics and the API are served: on a port, or on a unix socket."""

    address: BindAddress = "127.0.0.1"
    """An address of this machine; `""` is every one."""
    port: PortNumber = 8404
    """Its port."""
    unix: FilledText | None = None
    """Path of a unix socket, instead of address and port."""
    token: Annotated[FilledText | None, Field(repr=False)] = None
    """What a caller must show; required where the address is not a loopback one."""


class AccessLogSettings(Table):
    """A line for every connection that has ended."""

    path: FilledText = "-"
    """A file, or `-` for standard output."""
    format: Literal["json", "text"] = "json"
    """How the line is written."""


def _required_or_flag(value: Any) -> str | None:
    if isinstance(value, bool):
        return "<flag>"
    return "<text>" if value == "require" else None


class Settings(ConnectionKeys):
    """The configuration of a proxy."""

    routes: list[Route]
    """The routes."""
    defaults: Defaults = Defaults()
    """What holds for every route that does not say otherwise."""
    proxy_ips: AddressList = Field(default_factory=list)
    """Peers that are trusted to announce a client with a PROXY header."""
    accept_proxy_protocol: Annotated[
        Annotated[Flag, Tag("<flag>")] | Annotated[Literal["require"], Tag("<text>")],
        shaped(_required_or_flag, 'must be true, false or "require"'),
    ] = True
    """From a trusted peer: `true` uses a header if there is one, `"require"` closes without one, `false` takes the
    bytes as payload. From anyone else a header is payload, always."""
    proxy_header_timeout: Duration = "5s"
    """A trusted peer's header must be complete by then."""
    send_proxy_protocol: SendProxyProtocol = False
    """Send targets a PROXY header: `true` or `1` (version 1), `2`, or a mapping with `version` and `tlvs`."""
    graceful_shutdown_timeout: Duration = "30s"
    """How long connections may go on when the proxy stops."""
    max_pending_data_size: Size = "10MiB"
    """Client bytes held while the target is being dialed; reading pauses well before."""
    max_connections: Count = 0
    """All connections together; 0 is no limit."""
    max_connections_per_ip: Count = 0
    """Connections of one client address, the announced one behind a trusted peer; 0 is no limit."""
    connection_rate_limit_per_minute: Count = 0
    """New connections of one client address in any 60 seconds; 0 is no limit."""
    zombie_detection: Annotated[
        Annotated[Flag, Tag("<flag>")] | Annotated[ZombieDetection, Tag("<table>")], FLAG_OR_TABLE
    ] = True
    """Find connections that look alive and are dead; a mapping changes when."""
    cleanup: CleanupSettings = CleanupSettings()
    """How connections that have ended are put away."""
    metrics: Annotated[
        Annotated[Flag, Tag("<flag>")] | Annotated[MetricsSettings, Tag("<table>")], FLAG_OR_TABLE
    ] = True
    """Measure throughput over time; a mapping changes how."""
    admin: Annotated[
        Annotated[Flag, Tag("<flag>")] | Annotated[AdminSettings, Tag("<table>")], FLAG_OR_TABLE
    ] = False
    """Serve metrics and the API; `true` is 127.0.0.1:8404, a mapping says where."""
    access_log: Annotated[
        Annotated[Flag, Tag("<flag>")] | Annotated[AccessLogSettings, Tag("<table>")], FLAG_OR_TABLE
    ] = False
    """Write a line for every connection; `true` writes to standard output, a mapping says where and how."""
    workers: Workers = 1
    """Processes, or `auto` for one a core."""
    acceleration: Literal["auto", "off"] = "auto"
    """Whether established plain relays may use the kernel's splice."""
    tls: Tls = Tls()
    """TLS of the whole proxy."""
    acme: Unsettled = Field(default_factory=dict)
    """Automatic certificates."""

    _source: Source | None = PrivateAttr(default=None)
    _file: Path | None = PrivateAttr(default=None)
    _directory: Path = PrivateAttr(default=Path())

    @classmethod
    def load(cls, path: str | Path) -> Settings:
        """The configuration in a file, by its ending: ``.yaml``, ``.yml``, ``.json`` or ``.toml``.

        :raises ConfigurationError: with every problem, where there is one.
        """
        text, spelling = loading.file_text(Path(path))
        settings = cls.parse(text, spelling, file=str(path))
        settings._file = Path(path)  # noqa: SLF001 - our own class
        return settings

    def again(self) -> Settings:
        """What its file says now.

        :raises ConfigurationError: as :meth:`load`; also where it came from no file.
        """
        if self._file is None:
            raise ConfigurationError(
                ["the configuration did not come from a file; there is nothing to read again"]
            )
        return type(self).load(self._file)

    @classmethod
    def parse(cls, text: str, format: str, file: str = "<string>") -> Settings:  # noqa: A002 - the name that the caller uses
        """The configuration in a text. ``format`` is ``yaml``, ``json`` or ``toml``; ``file`` is for messages.

        :raises ConfigurationError: with every problem, where there is one.
        """
        return loading.parse(cls, text, format, file)

    def with_routes(self, routes: Iterable[Route | Mapping[str, Any]], file: str = "routes") -> Settings:
        """The same configuration with other routes; a mapping is one as it stands in a file.

        :raises ConfigurationError: with every problem, where there is one.
        """
        changed = loading.with_routes(self, list(routes), file)
        changed._file = self._file  # noqa: SLF001 - our own class
        return changed

    def check(self) -> list[str]:
        """What is wrong with the whole, one line a problem; with file and line where it came from one."""
        return [refusal(problem, self._source) for problem in conflicts.problems(self)]

    def warnings(self) -> list[str]:
        """What is allowed and yet hardly meant, in the same form."""
        return [refusal(problem, self._source) for problem in conflicts.doubts(self)]

    def compile(self) -> ProxyPlan:
        """What the path works with: seconds, bytes, sets, and the handlers themselves.

        :raises ConfigurationError: with every problem, where there is one.
        """
        with loading.uncollected():
            files = TlsFiles(self.directory)
            problems = [refusal(problem, self._source) for problem in conflicts.problems(self, files)]
            if problems:
                raise ConfigurationError(problems)
            return plans.proxy_plan(self, self.directory, files)

    def summary(self) -> str:
        """``FILE: ok (2 routes, ports 80, 443, 8000-8010)``, of settings that have been found right."""
        place = f"{self._file}: " if self._file is not None else ""
        return f"{place}ok ({plans.summary(self)})"

    def remember(self, source: Source) -> None:
        """Where the lines of its keys can be found."""
        self._source = source
        self._directory = Path(source.file).parent

    def stand_in(self, directory: Path) -> None:
        """Its paths are relative to ``directory``."""
        self._directory = directory

    @property
    def directory(self) -> Path:
        """What its paths are relative to: where its file is, or else where the process is."""
        return self._directory

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The JSON Schema (2020-12) of a configuration file."""
        return schema.schema_of(cls)
