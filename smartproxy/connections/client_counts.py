"""Number of live connections by client address, and by IPv6 network where limits count networks."""

from __future__ import annotations

from smartproxy.security.client_key import ADDRESS, client_key


class ClientCounts:
    """Counts of clients.

    :ivar by_ip: by address; no address has 0.
    """

    __slots__ = ("_by_network", "_prefix", "by_ip")

    def __init__(self) -> None:
        self.by_ip: dict[str, int] = {}
        self._prefix = ADDRESS
        #: Empty while each address is a client of its own.
        self._by_network: dict[str, int] = {}

    def add(self, ip: str) -> None:
        """Count a connection of ``ip``."""
        self.by_ip[ip] = self.by_ip.get(ip, 0) + 1
        if self._prefix != ADDRESS and ":" in ip:
            network = client_key(ip, self._prefix)
            self._by_network[network] = self._by_network.get(network, 0) + 1

    def remove(self, ip: str) -> None:
        """Do not count a connection of ``ip`` any more."""
        decrement(self.by_ip, ip)
        if self._prefix != ADDRESS and ":" in ip:
            decrement(self._by_network, client_key(ip, self._prefix))

    def of_client(self, ip: str) -> int:
        """Number of connections of the client that ``ip`` belongs to."""
        if self._prefix != ADDRESS and ":" in ip:
            return self._by_network.get(client_key(ip, self._prefix), 0)
        return self.by_ip.get(ip, 0)

    def may_add(self, ip: str, limit: int) -> bool:
        """Whether the client that ``ip`` belongs to has fewer than ``limit`` connections."""
        if self._prefix != ADDRESS and ":" in ip:
            return self._by_network.get(client_key(ip, self._prefix), 0) < limit
        return self.by_ip.get(ip, 0) < limit

    def regroup(self, prefix: int) -> None:
        """Count IPv6 networks of this prefix length from now on, live connections included."""
        if prefix == self._prefix:
            return
        self._prefix = prefix
        self._by_network = {}
        if prefix == ADDRESS:
            return
        for ip, count in self.by_ip.items():
            if ":" in ip:
                network = client_key(ip, prefix)
                self._by_network[network] = self._by_network.get(network, 0) + count


def decrement(counts: dict[str, int], key: str) -> None:
    """Subtract one, and delete a key that reaches 0: else a million clients would leave a million keys."""
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
