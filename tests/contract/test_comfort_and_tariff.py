"""Local time is where comfort and tariffs live: nights, midnights and the two odd days a year."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.local_time import DAYS
from contracts.site import Absence, ComfortPeriod, SiteConfig, explain
from contracts.tariff import Tariff

PRAGUE = ZoneInfo("Europe/Prague")
SPRING = datetime(2026, 3, 29, tzinfo=PRAGUE)  # 23 h: 02:00 becomes 03:00
AUTUMN = datetime(2026, 10, 25, tzinfo=PRAGUE)  # 25 h: 03:00 becomes 02:00


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=PRAGUE)


def instants(day: datetime, step: timedelta = timedelta(minutes=15)) -> list[datetime]:
    """Local times of a local day at every step of real time."""
    start = day.astimezone(UTC)
    end = datetime(day.year, day.month, day.day + 1, tzinfo=PRAGUE).astimezone(UTC)
    count = (end - start) // step
    return [(start + i * step).astimezone(PRAGUE) for i in range(count)]


class TestComfortBand:
    @pytest.mark.parametrize(
        ("when", "band"),
        [
            ("2026-01-14T05:29:59", (19.0, 23.0)),  # Wednesday, Tuesday's 22:00 still holds
            ("2026-01-14T05:30:00", (20.5, 23.5)),
            ("2026-01-14T21:59:59", (20.5, 23.5)),
            ("2026-01-14T22:00:00", (19.0, 23.0)),
            ("2026-01-14T00:00:00", (19.0, 23.0)),
            ("2026-01-17T05:30:00", (19.0, 23.0)),  # Saturday sleeps an hour longer
            ("2026-01-17T06:30:00", (20.5, 23.5)),
            ("2026-01-19T06:00:00", (20.5, 23.5)),  # Monday again
        ],
    )
    def test_living(self, site: SiteConfig, when: str, band: tuple[float, float]) -> None:
        assert site.comfort_band("living", local(when)) == band

    def test_weekend_of_a_working_room(self, site: SiteConfig) -> None:
        assert site.comfort_band("study", local("2026-01-16T12:00")) == (20.5, 23.5)
        assert site.comfort_band("study", local("2026-01-17T12:00")) == (18.5, 23.0)
        # Monday before seven: Sunday's 18:00 period holds.
        assert site.comfort_band("study", local("2026-01-19T06:59")) == (18.5, 23.0)

    def test_one_period_holds_always(self, site: SiteConfig) -> None:
        for hour in range(24):
            assert site.comfort_band("hall", local(f"2026-01-14T{hour:02}:30")) == (17.5, 23.0)

    def test_a_holiday_is_a_sunday_unless_the_profile_says_otherwise(self, site: SiteConfig) -> None:
        house = site.model_copy(update={"holidays": (date(2026, 1, 14),)})  # a Wednesday
        assert house.comfort_band("living", local("2026-01-14T06:00")) == (19.0, 23.0)
        assert house.comfort_band("study", local("2026-01-14T12:00")) == (18.5, 23.0)
        assert house.comfort_band("study", local("2026-01-15T12:00")) == (20.5, 23.5)
        own = ComfortPeriod(days=(), on_holidays=True, start=time(9), low_c=22.0, high_c=24.0)
        festive = house.model_copy(
            update={"comfort": {**house.comfort, "living": (*house.comfort["living"], own)}}
        )
        assert festive.comfort_band("living", local("2026-01-14T08:59")) == (19.0, 23.0)
        assert festive.comfort_band("living", local("2026-01-14T23:30")) == (22.0, 24.0)
        assert festive.comfort_band("living", local("2026-01-15T05:00")) == (22.0, 24.0)
        assert festive.comfort_band("living", local("2026-01-18T12:00")) == (20.5, 23.5)

    @pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 25)])
    def test_an_absence_over_the_change_of_time_ends_by_the_wall_clock(
        self, site: SiteConfig, day: datetime, hours: int
    ) -> None:
        naive = day.replace(tzinfo=None)
        away = Absence(start=naive, end=naive + timedelta(hours=24), rooms=("hall",))
        house = site.model_copy(update={"absences": (away,)})
        low = [house.comfort_band("hall", instant)[0] for instant in instants(day)]
        assert low == [12.0] * 4 * hours
        assert house.comfort_band("hall", naive.replace(tzinfo=PRAGUE) + timedelta(days=1))[0] == 17.5
        assert house.comfort_band("living", day)[0] == 19.0

    def test_an_absence_never_raises_a_band_and_rooms_may_have_their_own_lowest(
        self, site: SiteConfig
    ) -> None:
        damp = site.room("bathroom").model_copy(update={"away_low_c": 17.0})
        rooms = tuple(damp if room.id == "bathroom" else room for room in site.rooms)
        away = Absence(start=datetime(2026, 1, 14), end=datetime(2026, 1, 15))
        house = site.model_copy(update={"absences": (away,), "rooms": rooms, "away_low_c": 18.0})
        assert house.comfort_band("bathroom", local("2026-01-14T08:00"))[0] == 17.0
        assert house.comfort_band("living", local("2026-01-14T08:00"))[0] == 18.0
        assert house.comfort_band("hall", local("2026-01-14T08:00"))[0] == 17.5
        assert house.comfort_band("living", local("2026-01-15T08:00"))[0] == 20.5

    @pytest.mark.parametrize(("absence", "says"), [
        ({"start": "2026-01-14T10:00", "end": "2026-01-14T09:00"}, "must be after start"),
        ({"start": "2026-01-14T10:00Z", "end": "2026-01-15T09:00Z"}, "a local time has no offset"),
        ({"start": "2026-01-14T10:00", "end": "2026-01-15T09:00", "rooms": ["attic"]}, "is no room"),
    ])  # fmt: skip
    def test_a_wrong_absence_is_explained(
        self, site: SiteConfig, absence: dict[str, Any], says: str
    ) -> None:
        raw = site.model_dump(mode="json") | {"absences": [absence]}
        with pytest.raises(ValidationError) as error:
            SiteConfig.model_validate(raw)
        assert says in explain(error.value)

    def test_day_of_23_hours(self, site: SiteConfig) -> None:
        day = instants(SPRING)
        assert len(day) == 23 * 4
        bands = [site.comfort_band("living", instant) for instant in day]
        # Sunday: night until 06:30, which is 5.5 h after midnight; day until 22:00.
        assert bands.count((19.0, 23.0)) == 22 + 8
        assert bands.count((20.5, 23.5)) == 62
        assert sum(a != b for a, b in pairwise(bands)) == 2

    def test_day_of_25_hours(self, site: SiteConfig) -> None:
        day = instants(AUTUMN)
        assert len(day) == 25 * 4
        bands = [site.comfort_band("living", instant) for instant in day]
        assert bands.count((19.0, 23.0)) == 30 + 8
        assert bands.count((20.5, 23.5)) == 62
        assert sum(a != b for a, b in pairwise(bands)) == 2

    def test_both_hours_of_the_repeated_one_are_the_same(self, site: SiteConfig) -> None:
        first = datetime(2026, 10, 25, 2, 30, tzinfo=PRAGUE, fold=0)
        second = first.replace(fold=1)
        assert second.astimezone(UTC) - first.astimezone(UTC) == timedelta(hours=1)
        assert site.comfort_band("living", first) == site.comfort_band("living", second)

    def test_period_that_starts_in_the_skipped_hour(self, site_values: Any) -> None:
        site_values["comfort"]["passing"] = [
            {"start": "00:00", "low_c": 17, "high_c": 23},
            {"start": "02:30", "low_c": 18, "high_c": 23},
        ]
        site = SiteConfig.model_validate(site_values)
        bands = [site.comfort_band("hall", instant)[0] for instant in instants(SPRING)]
        assert bands == [17.0] * 8 + [18.0] * 84

    @settings(deadline=None, derandomize=True)
    @given(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(PRAGUE)))
    def test_every_instant_has_a_band_of_its_profile(self, when: datetime) -> None:
        site = SHIPPED["site"]
        for room in site.rooms:
            band = site.comfort_band(room.id, when)
            assert band in {(p.low_c, p.high_c) for p in site.comfort[room.comfort]}

    def test_unknown_room(self, site: SiteConfig) -> None:
        with pytest.raises(KeyError):
            site.comfort_band("attic", local("2026-01-14T12:00"))


SHIPPED: dict[str, SiteConfig] = {}


@pytest.fixture(autouse=True)
def _shipped(site: SiteConfig) -> None:
    SHIPPED["site"] = site


class TestPrices:
    # 100 EUR/MWh: 0.100 + 0.014 supplier + 0.030 system fees + distribution, plus 21 % VAT.
    LOW = 0.19602  # (0.144 + 0.018) * 1.21
    HIGH = 0.27346  # (0.144 + 0.082) * 1.21

    @pytest.mark.parametrize(
        ("when", "price"),
        [
            ("2026-01-14T00:00:00", LOW),
            ("2026-01-14T06:59:59", LOW),
            ("2026-01-14T07:00:00", HIGH),
            ("2026-01-14T07:59:59", HIGH),
            ("2026-01-14T08:00:00", LOW),
            ("2026-01-14T11:30:00", HIGH),
            ("2026-01-14T16:00:00", HIGH),
            ("2026-01-14T19:59:59", HIGH),
            ("2026-01-14T20:00:00", LOW),
            ("2026-01-14T23:59:59", LOW),
        ],
    )
    def test_buying_by_hand(self, site: SiteConfig, when: str, price: float) -> None:
        assert site.tariff.buy_eur_per_kwh(100.0, local(when)) == pytest.approx(price, abs=1e-12)

    def test_buying_below_zero(self, site: SiteConfig) -> None:
        # (-0.200 + 0.014 + 0.018 + 0.030) * 1.21
        price = site.tariff.buy_eur_per_kwh(-200.0, local("2026-01-14T02:00"))
        assert price == pytest.approx(-0.16698, abs=1e-12)

    def test_selling_by_hand(self, site: SiteConfig) -> None:
        assert site.tariff.sell_eur_per_kwh(100.0) == pytest.approx(0.082, abs=1e-12)
        assert site.tariff.sell_eur_per_kwh(10.0) == pytest.approx(-0.008, abs=1e-12)

    def test_twenty_low_hours_and_what_the_odd_days_do_to_them(self, site: SiteConfig) -> None:
        def low_quarters(day: datetime) -> int:
            prices = [site.tariff.buy_eur_per_kwh(100.0, instant) for instant in instants(day)]
            return sum(price < 0.2 for price in prices)

        assert low_quarters(datetime(2026, 1, 14, tzinfo=PRAGUE)) == 20 * 4
        assert low_quarters(SPRING) == 19 * 4
        assert low_quarters(AUTUMN) == 21 * 4


def tariff(*spans: dict[str, Any]) -> Tariff:
    return Tariff(
        distribution_high_eur_per_kwh=1.0,
        distribution_low_eur_per_kwh=0.0,
        vat=0.0,
        low_hours=spans,  # type: ignore[arg-type]
    )


def is_low(prices: Tariff, when: str) -> bool:
    return prices.buy_eur_per_kwh(0.0, local(when)) == 0.0


class TestLowHours:
    def test_span_over_midnight(self) -> None:
        night = tariff({"start": "22:00", "end": "06:00"})
        assert not is_low(night, "2026-01-14T21:59:59")
        assert is_low(night, "2026-01-14T22:00")
        assert is_low(night, "2026-01-15T00:00")
        assert is_low(night, "2026-01-15T05:59:59")
        assert not is_low(night, "2026-01-15T06:00")

    def test_span_over_midnight_belongs_to_the_day_it_starts(self) -> None:
        friday = tariff({"start": "22:00", "end": "06:00", "days": ["fri"]})
        assert not is_low(friday, "2026-01-16T05:00")  # Friday morning is Thursday's night
        assert is_low(friday, "2026-01-16T23:00")
        assert is_low(friday, "2026-01-17T05:00")  # Saturday morning
        assert not is_low(friday, "2026-01-17T23:00")

    def test_week_wraps_from_sunday_to_monday(self) -> None:
        sunday = tariff({"start": "22:00", "end": "06:00", "days": ["sun"]})
        assert is_low(sunday, "2026-01-19T01:00")  # Monday
        assert not is_low(sunday, "2026-01-18T01:00")  # Sunday morning is Saturday's night

    def test_midnight_at_the_end(self) -> None:
        evening = tariff({"start": "20:00", "end": "00:00"})
        assert is_low(evening, "2026-01-14T23:59:59")
        assert not is_low(evening, "2026-01-15T00:00")

    def test_midnight_at_both_ends_is_the_whole_day(self) -> None:
        weekend = tariff({"start": "00:00", "end": "00:00", "days": ["sat", "sun"]})
        assert is_low(weekend, "2026-01-17T00:00")
        assert is_low(weekend, "2026-01-18T23:59")
        assert not is_low(weekend, "2026-01-19T00:00")
        assert not is_low(weekend, "2026-01-16T23:59")

    def test_no_spans(self) -> None:
        assert not is_low(tariff(), "2026-01-14T02:00")

    @settings(deadline=None, derandomize=True)
    @given(
        start=st.integers(0, 95),
        length=st.integers(1, 95),
        day=st.sampled_from(DAYS),
        quarter=st.integers(0, 7 * 96 - 1),
    )
    def test_a_span_lasts_as_long_as_it_says(
        self, start: int, length: int, day: str, quarter: int
    ) -> None:
        end = (start + length) % 96
        prices = tariff(
            {"start": clock(start), "end": clock(end), "days": [day]},
        )
        monday = datetime(2026, 1, 12, tzinfo=PRAGUE)
        instant = monday + timedelta(minutes=15 * quarter)
        begins = DAYS.index(day) * 96 + start  # type: ignore[arg-type]
        expected = (quarter - begins) % (7 * 96) < length
        assert (prices.buy_eur_per_kwh(0.0, instant) == 0.0) == expected


def clock(quarter: int) -> str:
    return f"{quarter // 4:02}:{quarter % 4 * 15:02}"
