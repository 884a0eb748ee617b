"""The time to choose a route, which must not grow with the number of routes.

Run by ``python -m benchmarks.routes``. The bars: with 10,000 routes of a domain each on one port, a look-up takes at
most 1.1 times as long as with 10; and with a single route without conditions, less than a microsecond.

The rounds of the tables are interleaved and short, so that a slow phase of the machine affects all of them, and the
best round of each counts. A round looks up the same few names in each table, so that it measures the table. The last
line looks up 10,000 different names: the extra time is due to the processor's cache, which can no longer hold all
names, facts and routes. It has no bar.
"""

from __future__ import annotations

from random import Random
from time import perf_counter

from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted, Announced, ApplicationProtocol, Detected
from smartproxy.model.plan import MatchPlan, RoutePlan
from smartproxy.routing.table import RouteTable
from smartproxy.wire.client_hello import ClientHello

PORT = 443
ROUNDS = 200
LOOK_UPS = 1_000
BAR = 1.1
BAR_BARE = 1.0


def table_of(count: int) -> RouteTable:
    """A table of exact names and wildcards in turn, and one route for any other name."""
    patterns = (f"{'*.' * (number % 2)}host{number}.example.com" for number in range(count))
    named = [route(number, (pattern,)) for number, pattern in enumerate(patterns)]
    return RouteTable([*named, route(count, ())])


def route(number: int, domains: tuple[str, ...]) -> RoutePlan:
    return RoutePlan(f"r{number}", number, MatchPlan((range(PORT, PORT + 1),), domains=domains))


def facts_for(name: str | None) -> Detected:
    peer = Endpoint("192.0.2.1", 50000)
    announced = Announced(Accepted(f":{PORT}", PORT, peer, 0.0), peer)
    return Detected(announced, ApplicationProtocol.TLS, ClientHello(server_name=name))


def microseconds(table: RouteTable, facts: list[Detected]) -> float:
    """Average time of a look-up over a round."""
    find = table.find
    rounds = range(max(LOOK_UPS // len(facts), 1))
    started = perf_counter()
    for _ in rounds:
        for fact in facts:
            find(fact)
    return (perf_counter() - started) / (len(rounds) * len(facts)) * 1e6


def main() -> int:
    """Print the times and their ratio; 1 if a bar is missed."""
    few, many, bare = table_of(10), table_of(10_000), table_of(0)
    # Matched exactly, by a wildcard, by a wildcard two labels up, and not at all, in both tables.
    names = ["host2.example.com", "www.host3.example.com", "a.b.host5.example.com", "other.example.org"]
    facts = [facts_for(name) for name in names]
    rounds = [
        (microseconds(few, facts), microseconds(many, facts), microseconds(bare, [facts_for(None)]))
        for _ in range(ROUNDS)
    ]
    with_few, with_many, without = (min(times) for times in zip(*rounds, strict=True))
    ratio = with_many / with_few
    print(f"10 routes       {with_few:6.2f} us a look-up")
    print(f"10,000 routes   {with_many:6.2f} us a look-up")
    print(f"ratio           {ratio:6.2f}    (bar {BAR})")
    print(f"no condition     {without:6.2f} us a look-up (bar {BAR_BARE})")
    every = [facts_for(f"{'www.' * (number % 2)}host{number}.example.com") for number in range(10_000)]
    Random(1).shuffle(every)
    print(
        f"10,000 names    {min(microseconds(many, every) for _ in range(5)):6.2f} us a look-up, each name once"
    )
    return 0 if ratio <= BAR and without <= BAR_BARE else 1


if __name__ == "__main__":
    raise SystemExit(main())
