"""``smartproxy top``: routes, connections and throughput of a running proxy, live in the terminal.

The admin API is polled every ``--interval``, and every reply or key draws the screen again, in the current size of the
terminal. A proxy that does not reply is polled until it does. Without a terminal, or with ``--once``, one snapshot is
printed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console, Group
from rich.live import Live
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from smartproxy.cli.admin_address import admin_options
from smartproxy.cli.admin_client import call, printable
from smartproxy.cli.board import SORTS, Board
from smartproxy.cli.remote import run
from smartproxy.cli.snapshot import Snapshot, snapshot
from smartproxy.errors import AdminRequestFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorFDSet, IReactorTime
    from twisted.python.failure import Failure

    from smartproxy.cli.admin_client import AdminClient, ICommandReactor

#: Length of lines when standard output is not a terminal and ``COLUMNS`` is not set.
_PIPE_WIDTH = 120
#: Seconds for a reply. The commands wait longer; here old numbers have to be marked as such.
_TIMEOUT = 5.0


@click.command(short_help="Show routes, clients and throughput, live.")
@admin_options
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    help="Seconds between two requests.",
)
@click.option(
    "--sort",
    type=click.Choice(list(SORTS.values())),
    default="active",
    show_default=True,
    help="Column to sort by.",
)
@click.option("--filter", "only", default="", help="Show only routes, or targets, whose names contain this.")
@click.option("--targets", is_flag=True, help="Begin with the view of targets.")
@click.option("--once", is_flag=True, help="Print one snapshot and exit.")
@click.option("--json", "as_json", is_flag=True, help="With --once: print the snapshot as JSON.")
def top(
    *,
    admin: AdminClient,
    interval: float,
    sort: str,
    only: str,
    targets: bool,
    once: bool,
    as_json: bool,
) -> None:
    """Show routes, clients, targets and throughput of a running proxy, live.

    \b
    Keys: n a t i o sort by name, active, total, in, out; r reverses the order;
    / filters by name; g shows the targets of the groups, and the routes again;
    q quits.
    """  # noqa: D301 - \b tells click not to rewrap the next paragraph
    if as_json and not once:
        raise click.UsageError("--json requires --once")
    board = Board(sort, only, targets=targets)

    async def show(reactor: ICommandReactor) -> None:
        if once or not (sys.stdin.isatty() and sys.stdout.isatty()):
            now = await fetch_snapshot(reactor, admin, targets=targets or as_json)
            _print(board, now, as_json=as_json)
        else:
            await _show_live(reactor, admin, board, interval)

    run(show, admin)


async def fetch_snapshot(reactor: ICommandReactor, admin: AdminClient, *, targets: bool = False) -> Snapshot:
    """Request the state of the proxy.

    :param targets: whether to ask for its targets, too.
    :raises AdminRequestFailed: if there is no proxy, or one of another version.
    """
    paths = ["status", "metrics", "routes", *(["targets"] if targets else ())]
    replies = [await call(reactor, admin, "GET", f"/api/v1/{path}", timeout=_TIMEOUT) for path in paths]
    try:
        return snapshot(*replies)
    except (KeyError, TypeError, AttributeError) as missing:
        raise AdminRequestFailed(f"{admin.name} is not a proxy of this version: {missing}") from missing


def _print(board: Board, now: Snapshot, *, as_json: bool) -> None:
    if as_json:
        visible = {"routes": board.visible_routes(now), "targets": board.visible_targets(now)}
        click.echo(json.dumps({**now._asdict(), **visible}, indent=2))
        return
    board.update(now)
    console = Console(file=sys.stdout)
    is_wide = console.is_terminal or "COLUMNS" in os.environ
    for line in board.render(console.width if is_wide else _PIPE_WIDTH, keys=False):
        console.print(line, soft_wrap=True)


class TopView:
    """Polls the proxy and handles keys until the user quits.

    :param fetch: returns the next snapshot.
    :param draw: draws the board.
    """

    def __init__(
        self,
        clock: IReactorTime,
        fetch: Callable[[], Deferred[Snapshot]],
        board: Board,
        draw: Callable[[], object],
    ) -> None:
        self._fetch = fetch
        self._board = board
        self._draw = draw
        self._clock = clock
        self._replied_at = clock.seconds()
        self._ended: Deferred[None] = Deferred()
        self._polling = LoopingCall(self._poll)
        self._polling.clock = clock

    def start(self, interval: float) -> Deferred[None]:
        """Start polling.

        :return: fires when the user quits; fails if drawing raises.
        """
        self._draw()
        self._polling.start(interval).addErrback(self.end)
        return self._ended

    def press(self, keys: str) -> None:
        """Handle keys in order."""
        for key in keys:
            self._board.press(key)
        if self._board.has_quit:
            self.end()
            return
        self._draw()
        if self._board.needs_targets:  # the next poll may be an hour away
            self._poll().addErrback(self.end)

    def end(self, failure: Failure | None = None) -> None:
        """Stop polling; ``failure`` is passed on. A second call does nothing."""
        if self._polling.running:
            self._polling.stop()
        if self._ended.called:
            return
        if failure is None:
            self._ended.callback(None)
        else:
            self._ended.errback(failure)

    def _poll(self) -> Deferred[None]:
        fetched = self._fetch().addCallbacks(self._update, self._fail)
        return fetched.addCallback(lambda _: self._draw_unless_ended())

    def _update(self, now: Snapshot) -> None:
        self._replied_at = self._clock.seconds()
        self._board.update(now)

    def _fail(self, why: Failure) -> None:
        why.trap(AdminRequestFailed)
        self._board.fail(printable(why.value), self._clock.seconds() - self._replied_at)

    def _draw_unless_ended(self) -> None:
        if not self._ended.called:
            self._draw()


async def _show_live(reactor: ICommandReactor, admin: AdminClient, board: Board, interval: float) -> None:
    console = Console()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        view = TopView(
            reactor,
            lambda: Deferred.fromCoroutine(fetch_snapshot(reactor, admin, targets=board.shows_targets)),
            board,
            lambda: live.update(Group(*board.render(*console.size)), refresh=True),
        )
        # A changed window size draws the screen again: no keys, but the same path.
        signal.signal(signal.SIGWINCH, lambda _number, _frame: reactor.callFromThread(view.press, ""))
        keys = Keys(reactor, sys.stdin.fileno(), view.press, view.end)
        keys.start()
        try:
            await view.start(interval)
        finally:
            keys.stop()


@implementer(IReadDescriptor)
class Keys:
    """Reads keys from a terminal one by one, without echo and without waiting for Enter.

    Standard input stays in blocking mode, because it is the same open terminal as standard output, which must block. It is
    read only when the reactor reports it as readable.

    :param on_keys: called with the keys that were pressed.
    :param on_closed: called when the terminal is closed.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        terminal: int,
        on_keys: Callable[[str], None],
        on_closed: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._terminal = terminal
        self._on_keys = on_keys
        self._on_closed = on_closed
        self._attributes_before: list[Any] = []

    def start(self) -> None:
        """Turn off line mode and echo, and start reading."""
        import termios  # noqa: PLC0415 - other systems have none, and the other commands run there
        import tty  # noqa: PLC0415 - likewise

        self._attributes_before = termios.tcgetattr(self._terminal)
        tty.setcbreak(self._terminal)
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Stop reading, and restore the mode of the terminal."""
        import termios  # noqa: PLC0415 - as above

        self._reactor.removeReader(self)
        termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._attributes_before)

    def fileno(self) -> int:
        """The descriptor of the terminal."""
        return self._terminal

    def doRead(self) -> None:
        """The terminal is readable: pass on the keys, or report that it was closed."""
        try:
            read = os.read(self._terminal, 1024)
        except OSError:
            read = b""
        if read:
            self._on_keys(read.decode("utf-8", "ignore"))
        else:
            self._on_closed()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has lost the terminal."""
        self._on_closed()

    def logPrefix(self) -> str:
        """The prefix of the reactor's log lines."""
        return "keys"
