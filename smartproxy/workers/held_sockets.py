"""The listening sockets of all workers: bound once, held as long as the proxy runs, whatever becomes of a worker.

::

    held = HeldSockets(4)
    held.open({("", 443)})          # CannotListenError: then none is open that was not before
    held.of_slot(2)                 # for the worker in slot 2, and for the next one there
    held.keep({("", 443)})          # after a reload: close what it has no use for

For each place there is one socket with SO_REUSEPORT for each slot, and the kernel gives each of them its share of the
connections (socket(7)). As the sockets are held here, a worker that dies loses no connection that waits in the kernel's
queue, and the kernel's choice among the sockets does not change.

SO_REUSEPORT would let a second proxy of the same user bind the same address and take half of the connections. So the first
socket of a place is bound without it, which fails where another process listens.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from twisted.internet.error import CannotListenError

from smartproxy.model.address import Endpoint
from smartproxy.net.activated import ActivatedSockets
from smartproxy.net.listening import BACKLOG
from smartproxy.proxy.given import ListeningSocket
from smartproxy.proxy.listeners import interface_of, serving
from smartproxy.routing.table import listener_name
from smartproxy.wire.host import addresses_overlap

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from smartproxy.proxy.given import Place


class HeldSockets:
    """All of them.

    :param slots: sockets for each place.
    :ivar activated: sockets that a service manager has bound: slots share those of their addresses, and others are bound.
    """

    def __init__(self, slots: int) -> None:
        self.activated = ActivatedSockets()
        self._slots = slots
        self._groups: dict[Place, list[socket.socket]] = {}

    def open(self, places: Collection[Place]) -> set[Place]:
        """Bind the places that have no sockets yet, and return them. Clients can connect from now on.

        :raises CannotListenError: of the first place that cannot be had; then nothing has changed.
        """
        fresh: dict[Place, list[socket.socket]] = {}
        bound: list[Place] = []
        try:
            for place in sorted(set(places) - self._groups.keys()):
                fresh[place] = self._passed(place)
                if not fresh[place]:
                    self._bind(place, fresh)
                    bound.append(place)
            for place in bound:
                _listen(place, fresh[place])
        except BaseException:
            _close(fresh)
            raise
        self._groups.update(fresh)
        return set(fresh)

    def _passed(self, place: Place) -> list[socket.socket]:
        """A socket for each slot of those that a service manager has bound; none where it has not."""
        passed = self.activated.take(interface_of(place[0]), place[1])
        for other in passed[self._slots :]:
            other.close()
        return [passed[slot % len(passed)] for slot in range(self._slots)] if passed else []

    def _bind(self, place: Place, fresh: Mapping[Place, list[socket.socket]]) -> None:
        address, number = place
        interface, group = interface_of(address), fresh[place]
        # An address of our own that overlaps has sockets with SO_REUSEPORT, and refuses one without it.
        beside = any(
            other_number == number and addresses_overlap(interface_of(other), interface)
            for other, other_number in (*self._groups, *fresh)
            if (other, other_number) != place
        )
        for _ in range(self._slots):
            opened = _new_socket(interface)
            group.append(opened)
            try:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, beside or len(group) > 1)
                opened.bind((interface, number))
            except OSError as why:
                raise CannotListenError(interface, number, why) from why
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            number = opened.getsockname()[1]

    def of_slot(
        self, slot: int, places: Collection[Place] | None = None
    ) -> dict[ListeningSocket, socket.socket]:
        """The sockets of a slot, counted from 1.

        :param places: only those of these places.
        """
        return {
            ListeningSocket(place, slot): group[slot - 1]
            for place, group in self._groups.items()
            if places is None or place in places
        }

    def keep(self, wanted: Collection[Place]) -> None:
        """Close the sockets of places that no place of ``wanted`` serves."""
        self.close([place for place in self._groups if serving(place, wanted) is None])

    def close(self, places: Collection[Place] | None = None) -> None:
        """Close the sockets of these places, by default of all. Workers may have copies, which then are the last."""
        chosen = list(self._groups if places is None else places)
        # A drain during a reload has closed those that the reload would close, too, where it fails.
        _close({place: self._groups.pop(place, []) for place in chosen})

    def descriptors(self) -> dict[str, list[int]]:
        """The descriptors of the sockets, by the names of listeners."""
        return {
            listener_name(*place): sorted({opened.fileno() for opened in group})
            for place, group in self._groups.items()
        }

    def addresses(self) -> dict[Place, Endpoint]:
        """The bound addresses: for port 0 the kernel has chosen a number."""
        return {place: Endpoint(*group[0].getsockname()[:2]) for place, group in self._groups.items()}


def _new_socket(interface: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return opened


def _listen(place: Place, group: list[socket.socket]) -> None:
    for opened in group:
        try:
            opened.listen(BACKLOG)
        except OSError as why:
            raise CannotListenError(interface_of(place[0]), place[1], why) from why


def _close(groups: Mapping[Place, list[socket.socket]]) -> None:
    for group in groups.values():
        for opened in group:
            opened.close()
