"""The limit on descriptors: raised at start, and logged."""

from __future__ import annotations

import resource
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.net import descriptors
from smartproxy.net.descriptors import hard_limit, highest_descriptor, raise_limit


class LimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.limits = (1024, 4096)
        self.refusal: OSError | None = None
        self.logged: list[str] = []
        kernel = SimpleNamespace(
            RLIMIT_NOFILE=resource.RLIMIT_NOFILE,
            RLIM_INFINITY=resource.RLIM_INFINITY,
            getrlimit=lambda _: self.limits,
            setrlimit=self.set_limits,
        )
        self.patch(descriptors, "resource", kernel)
        logger = SimpleNamespace(info=self.note, warn=self.note)
        self.patch(descriptors, "log", logger)

    def set_limits(self, _: int, limits: tuple[int, int]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.limits = limits

    def note(self, text: str, **fields: object) -> None:
        self.logged.append(text.format(**fields))

    def test_soft_limit_is_raised_to_the_hard_one(self) -> None:
        raise_limit()
        self.assertEqual(self.limits, (4096, 4096))
        self.assertEqual(self.logged, ["limit on open files raised from 1024 to 4096"])

    def test_equal_limits_are_left_alone(self) -> None:
        self.limits = (4096, 4096)
        raise_limit()
        self.assertEqual(self.logged, [])

    def test_refusal_of_the_kernel_is_logged(self) -> None:
        self.refusal = OSError("Operation not permitted")
        raise_limit()
        self.assertEqual(self.limits, (1024, 4096))
        self.assertEqual(self.logged, ["the limit on open files stays at 1024: Operation not permitted"])

    def test_reserve_grows_with_the_limit(self) -> None:
        found = []
        for soft in (128, 1024, 65536):
            self.limits = (soft, soft)
            found.append(highest_descriptor())
        self.assertEqual(found, [112, 960, 65280])

    def test_no_limit_is_none(self) -> None:
        self.assertEqual(hard_limit(), 4096)
        self.limits = (1024, resource.RLIM_INFINITY)
        self.assertIsNone(hard_limit())
