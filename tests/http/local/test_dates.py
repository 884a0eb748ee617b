"""Dates of RFC 9110, 5.6.7, in their three forms."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate

from hypothesis import given, strategies
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.http.local.dates import parse_date

_AT = 784111777


class DateTests(SynchronousTestCase):
    def test_the_three_forms_of_the_standard_are_one_moment(self) -> None:
        for text in (
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ):
            self.assertEqual(parse_date(text, 2026), _AT, text)

    def test_a_year_of_two_digits_is_at_most_fifty_years_ahead(self) -> None:
        for digits, this_year, year in (
            ("76", 2026, 2076),
            ("77", 2026, 1977),
            ("00", 2026, 2000),
            ("99", 2026, 1999),
            ("26", 2026, 2026),
            ("10", 2060, 2110),
            ("11", 2060, 2011),
        ):
            found = parse_date(f"Sunday, 06-Nov-{digits} 08:49:37 GMT", this_year)
            self.assertEqual(
                found, datetime(year, 11, 6, 8, 49, 37, tzinfo=UTC).timestamp(), (digits, this_year)
            )

    def test_what_is_no_date_is_none(self) -> None:
        for text in (
            "",
            "yesterday",
            "0",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "sun, 06 nov 1994 08:49:37 gmt",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 0000 08:49:37 GMT",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Sun Nov  6 08:49:37 1994 GMT",
            "Sun Nov  6 08:49:37 94",
            "Sun, 0\u0666 Nov 1994 08:49:37 GMT",
            " Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT\n",
        ):
            self.assertIsNone(parse_date(text, 2026), text)

    def test_a_leap_second_is_the_one_before(self) -> None:
        self.assertEqual(
            parse_date("Sat, 31 Dec 2016 23:59:60 GMT", 2026),
            parse_date("Sat, 31 Dec 2016 23:59:59 GMT", 2026),
        )

    @given(strategies.integers(0, 4_000_000_000))
    def test_every_moment_is_read_as_it_was_written(self, at: int) -> None:
        moment = datetime.fromtimestamp(at, UTC)
        self.assertEqual(parse_date(formatdate(at, usegmt=True), 2026), at)
        self.assertEqual(parse_date(moment.ctime(), 2026), at)
        near = moment.replace(year=2000 + moment.year % 50, day=min(moment.day, 28))
        written = near.strftime("%A, %d-%b-%y %H:%M:%S GMT")
        self.assertEqual(parse_date(written, 2026), near.timestamp())
