"""What the admin listener of a supervisor reads and changes of its workers.

::

    workers = AllWorkers(ask, ask_one, own, lambda: plan, reactor)
    workers.start()
    reading = await workers.reading()
    workers.retire(generation, last_snapshot, killed=False)      # when a worker has ended

The methods are those of :class:`~smartproxy.admin.control.IProxyControl` that are about connections; the supervisor itself
has the configuration. Workers are asked with the questions of :mod:`smartproxy.workers.answers`.
"""

from __future__ import annotations

from contextlib import contextmanager
from heapq import merge
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from twisted.internet.defer import Deferred

from smartproxy.admin.control import LiveConnections
from smartproxy.admin.shared import SharedResult
from smartproxy.errors import NoWorker, SmartProxyError
from smartproxy.flow.slices import Slices
from smartproxy.workers.answers import value_of
from smartproxy.workers.merged import merged_reading
from smartproxy.workers.merged_targets import configured_targets, merged_shown
from smartproxy.workers.merged_throughput import MergedThroughput
from smartproxy.workers.retired import Retired
from smartproxy.workers.set_by_hand import SetByHand
from smartproxy.workers.sums import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.admin.control import MetricsReading
    from smartproxy.metrics.api import NoThroughput, Throughput
    from smartproxy.metrics.counters import Counters
    from smartproxy.metrics.family import MetricFamily
    from smartproxy.model.certificate_status import ShownCertificate
    from smartproxy.model.plan import ProxyPlan
    from smartproxy.model.target_status import ShownTarget, Upcoming
    from smartproxy.workers.answers import Answered
    from smartproxy.workers.merged_throughput import TotalsByWorker
    from smartproxy.workers.snapshot import WorkerSnapshot

T = TypeVar("T")

#: Asks workers a question with arguments. Fires with the answers of those that have answered, by generation, in the order of
#: their slots. A worker that ends meanwhile, or cannot answer, is left out.
Ask: TypeAlias = "Callable[[str, dict[str, object]], Deferred[Mapping[int, Answered]]]"
#: How many times longer than a look at all counts takes, the next one is put off.
_OBSERVING_SHARE = 50


class AllWorkers:
    """All workers of a supervisor, as one proxy.

    :param ask: asks every live worker.
    :param ask_one: asks the first live worker, so its result has one answer at most.
    :param own: what the supervisor counts itself: changes of the configuration, and what else it does for all workers.
    :param plan: gives the plan in force.
    :param clock: the reactor.
    :param more: gives metric families about the workers themselves.
    :param draining: gives the generations of workers that take no new connections.
    """

    def __init__(
        self,
        ask: Ask,
        ask_one: Ask,
        own: Counters,
        plan: Callable[[], ProxyPlan],
        clock: IReactorTime,
        more: Callable[[], Sequence[MetricFamily]] = tuple,
        draining: Callable[[], Collection[int]] = tuple,
    ) -> None:
        self._ask = ask
        self._ask_one = ask_one
        self._own = own
        self._plan = plan
        self._clock = clock
        self._more = more
        self._draining = draining
        self._merged_throughput = MergedThroughput(plan().metrics, self._totals, clock)
        self._names = Names()
        self._named: ProxyPlan | None = None
        self._retired = Retired()
        #: The last snapshot of each worker that is not retired: one that does not answer keeps its counts.
        self._latest: dict[int, WorkerSnapshot] = {}
        #: For each question under way, the workers that were retired since it was asked.
        self._retired_since: list[set[int]] = []
        self._observe_at = 0.0
        self._shared = SharedResult(self._reading)
        self._by_hand = SetByHand()

    # -- workers and configuration -------------------------------------------------------------------

    def start(self) -> None:
        """Begin to sample the throughput."""
        self._merged_throughput.start()

    def stop(self) -> None:
        """Stop sampling."""
        self._merged_throughput.stop()

    def configure(self) -> None:
        """Follow the plan in force; called after each change of the configuration."""
        self._merged_throughput.configure(self._plan().metrics)

    def retire(self, worker: int, last: WorkerSnapshot | None = None, *, killed: bool) -> None:
        """A worker has ended; called once for each.

        :param worker: its generation.
        :param last: its last snapshot; by default the one that it has answered last.
        :param killed: whether it has ended without closing its connections.
        """
        for retired in self._retired_since:
            retired.add(worker)
        latest = self._latest.pop(worker, None)
        snapshot = last or latest
        if snapshot is not None:
            self._retired.retire(snapshot, killed=killed)
        self._merged_throughput.forget(worker)

    def set_by_hand(self) -> list[dict[str, object]]:
        """What operators have set of targets: the arguments of ``hold_target``, to be given to each new worker."""
        return self._by_hand.arguments()

    # -- what is counted and measured ----------------------------------------------------------------

    @property
    def throughput(self) -> Throughput | NoThroughput:
        """The throughput of all connections together."""
        return self._merged_throughput.total

    def reading(self) -> Deferred[MetricsReading]:
        """What all workers, those that have ended included, have counted and measured. Readers at the same time share one."""
        return self._shared.get()

    async def observe(self) -> None:
        """Ask every worker for what it has counted: of one that is killed, that is what will be known."""
        began = self._clock.seconds()
        if began < self._observe_at:
            return
        await self._look()
        # With thousands of routes in use a snapshot takes a tenth of a second.
        self._observe_at = began + _OBSERVING_SHARE * (self._clock.seconds() - began)

    async def _look(self) -> None:
        for worker, answered in (await self._answers(self._ask, "snapshot")).items():
            self._latest[worker] = value_of(answered)

    async def _reading(self) -> MetricsReading:
        await self._look()
        (live, draining), retired = self._divided(self._latest), self._retired.snapshot
        slices = Slices(self._clock)
        reading, known = await merged_reading(
            live, retired, self._own, self._configured(), self._merged_throughput, slices, draining
        )
        if live:
            self._retired.keep(known)  # from the next reading on: this one has the last values
        return reading._replace(more=self._more())

    def _configured(self) -> Names:
        """What the plan in force has."""
        plan = self._plan()
        if plan is not self._named:
            targets = list(configured_targets(plan))
            self._names = Names(plan.by_name.keys(), targets, plan.groups_by_name.keys())
            self._named = plan
        return self._names

    async def _totals(self) -> TotalsByWorker:
        answers = await self._answers(self._ask, "totals")
        return {worker: value_of(answered) for worker, answered in answers.items()}

    def status_sums(self) -> Deferred[dict[str, int]]:
        """``connections`` and ``lingering`` of the status of all workers."""
        return Deferred.fromCoroutine(self._status_sums())

    async def _status_sums(self) -> dict[str, int]:
        answers = await self._answers(self._ask, "status")
        facts = [value_of(answered) for answered in answers.values()]
        return {name: sum(of[name] for of in facts) for name in ("connections", "lingering")}

    # -- connections ---------------------------------------------------------------------------------

    def live(self, route: str | None, client: str | None, limit: int) -> Deferred[LiveConnections]:
        """The live connections of all workers, oldest first."""
        return Deferred.fromCoroutine(self._live(route, client, limit))

    async def _live(self, route: str | None, client: str | None, limit: int) -> LiveConnections:
        each: list[LiveConnections] = [
            *(await self._all("live", route=route, client=client, limit=limit)).values()
        ]
        oldest = merge(*(live.shown for live in each), key=_age)
        return LiveConnections(list(islice(oldest, limit)), sum(live.total for live in each))

    def end_connection(self, number: int) -> Deferred[bool]:
        """Close the connection with this number in whichever worker has it."""
        return Deferred.fromCoroutine(self._end_connection(number))

    async def _end_connection(self, number: int) -> bool:
        # Of a worker that has ended meanwhile, too: one that drains exits with its last connection.
        answers = await self._ask("end_connection", {"number": number})
        if not answers:
            raise _no_worker()
        return any(value_of(answered) for answered in answers.values())

    # -- targets -------------------------------------------------------------------------------------

    def targets(self, group: str | None) -> Deferred[Sequence[ShownTarget]]:
        """The targets of ``group``, or of all groups: see :func:`~smartproxy.workers.merged_targets.merged_shown`."""
        return Deferred.fromCoroutine(self._targets(group))

    async def _targets(self, group: str | None) -> Sequence[ShownTarget]:
        serving, draining = self._divided(await self._all("targets", group=group))
        return merged_shown(serving, self._retired.moved, draining)

    def peek(self, group: str, client: str | None) -> Deferred[Upcoming]:
        """What the next connection to ``group`` would get in the first worker; each worker has turns of its own."""
        return Deferred.fromCoroutine(self._first("peek", group=group, client=client))

    def set_target(self, group: str, name: str, changes: Mapping[str, object]) -> Deferred[ShownTarget]:
        """Set the state, the weight or both of one target in all workers, and in those that begin later."""
        return Deferred.fromCoroutine(self._set_target(group, name, dict(changes)))

    async def _set_target(self, group: str, name: str, changes: dict[str, object]) -> ShownTarget:
        with self._by_hand.kept(group, name, changes):
            each = await self._all("set_target", group=group, name=name, changes=changes)
        # Workers that do not know the target yet have refused.
        wanted = self._by_hand.of(group, name)
        await self._answers(self._ask, "hold_target", group=group, name=name, changes=wanted)
        serving, draining = self._divided({worker: [shown] for worker, shown in each.items()})
        (merged,) = merged_shown(serving, self._retired.moved, draining)
        return merged

    # -- certificates --------------------------------------------------------------------------------

    def certificates(self) -> Deferred[Sequence[ShownCertificate]]:
        """The certificates of the first worker: all have the same, but for those that are ordered on demand."""
        acme = self._plan().acme
        if acme is None or acme.on_demand is None:
            return Deferred.fromCoroutine(self._first("certificates"))
        return Deferred.fromCoroutine(self._with_those_on_demand())

    async def _with_those_on_demand(self) -> Sequence[ShownCertificate]:
        """Those of the first worker, and what only others have: each knows the names that its clients have asked for."""
        (first, *others), _ = self._divided(await self._all("certificates"))
        shown = {_names_on_demand(one): one for each in reversed(others) for one in each}
        shown.pop(None, None)
        for one in first:
            shown.pop(_names_on_demand(one), None)
        return [*first, *shown.values()]

    def renew_certificate(self, name: str) -> Deferred[Sequence[str]]:
        """Have all workers order the automatic certificates with this name: one of them does, the others use its result."""
        return Deferred.fromCoroutine(self._renew_certificate(name))

    async def _renew_certificate(self, name: str) -> Sequence[str]:
        each = await self._all("renew_certificate", name=name)
        return tuple(dict.fromkeys(chain.from_iterable(each.values())))

    # -- asking --------------------------------------------------------------------------------------

    async def _first(self, question: str, **arguments: object) -> Any:
        """The value of the first worker.

        :raises NoWorker: if it has not answered.
        """
        for answered in (await self._answers(self._ask_one, question, **arguments)).values():
            return value_of(answered)
        raise _no_worker()

    async def _all(self, question: str, **arguments: object) -> dict[int, Any]:
        """The values of all workers that have one: a target that was just discovered may be known to some only.

        :raises NoWorker: if none has answered.
        :raises UnknownTarget: and so on, if all of them have refused, or all but those that drain.
        """
        answers = await self._answers(self._ask, question, **arguments)
        values: dict[int, Any] = {}
        refusals: dict[int, Exception] = {}
        for worker, answered in answers.items():
            try:
                values[worker] = value_of(answered)
            except (SmartProxyError, ValueError) as refused:
                refusals[worker] = refused
        deciding = self._divided({worker: worker for worker in answers})[0]
        if not values.keys() & deciding:
            raise next((refusals[worker] for worker in deciding), _no_worker())
        return values

    def _divided(self, by_worker: Mapping[int, T]) -> tuple[list[T], list[T]]:
        """What is of workers that serve, and of those that drain; where none serves, all are taken for serving."""
        draining = by_worker.keys() & self._draining()
        if len(draining) == len(by_worker):
            draining = set()
        serving = [of for worker, of in by_worker.items() if worker not in draining]
        return serving, [by_worker[worker] for worker in by_worker if worker in draining]

    async def _answers(self, ask: Ask, question: str, **arguments: object) -> dict[int, Answered]:
        """The answers of the workers that have not been retired meanwhile."""
        with self._noting_retired() as retired:
            answers = await ask(question, arguments)
        return {worker: answered for worker, answered in answers.items() if worker not in retired}

    @contextmanager
    def _noting_retired(self) -> Iterator[set[int]]:
        retired: set[int] = set()
        self._retired_since.append(retired)
        try:
            yield retired
        finally:
            # By identity: another set that is empty as well is equal.
            self._retired_since = [each for each in self._retired_since if each is not retired]


def _names_on_demand(shown: ShownCertificate) -> tuple[str, ...] | None:
    """The names of a certificate that was ordered on demand; ``None`` of another one."""
    return tuple(shown.names) if shown.acme is not None and shown.acme.on_demand else None


def _no_worker() -> NoWorker:
    return NoWorker("no worker process has answered")


def _age(shown: dict[str, Any]) -> tuple[str, int]:
    """Sorts the connections of one worker as they are, and those of several by time: ISO 8601 sorts like the time."""
    return shown["openedAt"], shown["id"]
