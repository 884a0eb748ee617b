"""``smartproxy top``: routes, connections and throughput of a running proxy, live in the terminal.

The admin API is asked once in a while, and every answer or key press draws the picture anew, in the size that the
terminal then has. A proxy that goes away is waited for. Without a terminal, or with ``--once``, one look is printed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.live import Live
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from smartproxy.cli.admin_client import AdminClient, UnansweredError, ask, printable
from smartproxy.cli.board import SORTS, Board, Look, look
from smartproxy.cli.remote import admin_options, speak

if TYPE_CHECKING:
    from collections.abc import Callable

#: Lines of a picture that no terminal bounds, and their length.
_TALL, _WIDE = 1000, 120


@click.command(short_help="Show routes, clients and throughput, live.")
@admin_options
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    help="Seconds between looks.",
)
@click.option("--sort", type=click.Choice(list(SORTS.values())), default="active", show_default=True)
@click.option("--filter", "only", default="", help="Only routes that have this in their name.")
@click.option("--once", is_flag=True, help="Look once, print it, and end.")
@click.option("--json", "as_json", is_flag=True, help="With --once: print it as JSON.")
def top(
    *, url: str, token: str | None, interval: float, sort: str, only: str, once: bool, as_json: bool
) -> None:
    """Show what a running proxy does, live.

    \b
    Keys: n a t i o sort by name, active, total, in, out; r turns the order round;
    / filters by name; q quits.
    """  # noqa: D301 - \b is click's mark for text that it must not fill
    if as_json and not once:
        raise click.UsageError("--json goes with --once")
    admin, board = AdminClient(url, token), Board(sort, only)

    async def question(reactor: Any) -> None:
        if once or not (sys.stdin.isatty() and sys.stdout.isatty()):
            _print(board, await look_at(reactor, admin), as_json=as_json)
        else:
            await _live(reactor, admin, board, interval)

    speak(question)


async def look_at(reactor: Any, admin: AdminClient) -> Look:
    """One look at the proxy.

    :raises UnansweredError: where there is no proxy, or no proxy that says what it should.
    """
    answers = [await ask(reactor, admin, "GET", f"/api/v1/{it}") for it in ("status", "metrics", "routes")]
    try:
        return look(*answers)
    except (KeyError, TypeError, AttributeError) as missing:
        raise UnansweredError(f"{admin.url} is not a proxy of this version: {missing}") from missing


def _print(board: Board, now: Look, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({**now._asdict(), "routes": board.chosen(now)}, indent=2))
        return
    board.seen(now)
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE).print(board.picture(_TALL))


class TopView:
    """Looks again and again, and takes keys, until somebody has had enough.

    :param look: makes one look. :param draw: shows the board.
    """

    def __init__(
        self, clock: Any, look: Callable[[], Deferred[Look]], board: Board, draw: Callable[[], object]
    ) -> None:
        self._look = look
        self._board = board
        self._draw = draw
        self._ended: Deferred[None] = Deferred()
        self._looking = LoopingCall(self._again)
        self._looking.clock = clock

    def start(self, interval: float) -> Deferred[None]:
        """Begin. Fires when somebody has had enough; fails where the picture cannot be drawn."""
        self._draw()
        self._looking.start(interval).addErrback(self.end)
        return self._ended

    def pressed(self, keys: str) -> None:
        """Some keys, in order."""
        for key in keys:
            self._board.pressed(key)
        if self._board.done:
            self.end()
        else:
            self._draw()

    def end(self, result: Any = None) -> None:
        """Somebody has had enough. :param result: or a failure."""
        if self._looking.running:
            self._looking.stop()
        if not self._ended.called:
            self._ended.callback(result)

    def _again(self) -> Deferred[None]:
        return self._look().addCallbacks(self._board.seen, self._missed).addCallback(lambda _: self._shown())

    def _missed(self, why: Any) -> None:
        why.trap(UnansweredError)
        self._board.missed(printable(why.value))

    def _shown(self) -> None:
        if not self._ended.called:
            self._draw()


async def _live(reactor: Any, admin: AdminClient, board: Board, interval: float) -> None:
    console = Console()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        watch = TopView(
            reactor,
            lambda: Deferred.fromCoroutine(look_at(reactor, admin)),
            board,
            lambda: live.update(board.picture(console.size.height), refresh=True),
        )
        # The window's new size: as a key that does nothing.
        signal.signal(signal.SIGWINCH, lambda _number, _frame: reactor.callFromThread(watch.pressed, ""))
        keys = Keys(reactor, sys.stdin.fileno(), watch.pressed, watch.end)
        keys.start()
        try:
            await watch.start(interval)
        finally:
            keys.stop()


@implementer(IReadDescriptor)
class Keys:
    """Tells of keys as they are pressed, one by one, without a line's end, and not shown.

    Standard input is read when it has something and is left blocking: it is the same terminal as standard output.
    """

    def __init__(
        self, reactor: Any, terminal: int, pressed: Callable[[str], None], gone: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._terminal = terminal
        self._pressed = pressed
        self._gone = gone
        self._before: list[Any] = []

    def start(self) -> None:
        """Listen to the keyboard."""
        import termios  # noqa: PLC0415 - other systems have none, and the other commands run there
        import tty  # noqa: PLC0415 - likewise

        self._before = termios.tcgetattr(self._terminal)
        tty.setcbreak(self._terminal)
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Leave the terminal as it was."""
        import termios  # noqa: PLC0415 - as above

        self._reactor.removeReader(self)
        termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._before)

    def fileno(self) -> int:
        """Of the terminal."""
        return self._terminal

    def doRead(self) -> None:
        """There are keys, or the terminal has gone."""
        try:
            read = os.read(self._terminal, 1024)
        except OSError:
            read = b""
        if read:
            self._pressed(read.decode("utf-8", "ignore"))
        else:
            self._gone()

    def connectionLost(self, reason: Any) -> None:
        """Nobody is left to press keys."""
        self._gone()

    def logPrefix(self) -> str:
        """For the reactor's logs."""
        return "keys"
