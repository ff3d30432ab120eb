"""The account and the archive: money by the quarter hour, and a chain that shows every change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from contracts.envelope import Event
from contracts.events.measurement import BaselineSampled, HouseSampled
from contracts.events.price import PricesPublished
from contracts.events.system import ConfigLoaded
from contracts.events.thermal import AccuracyScored, AirScores
from contracts.site import SiteConfig
from pems.report import render
from services.historian.core import archive
from services.historian.core.account import account_of
from tests.conftest import make_event

START = datetime(2026, 1, 12, 11, 0, tzinfo=UTC)  # 12:00 local: low tariff


def meter(minute: int, import_wh: float, export_wh: float, pv_wh: float = 0.0) -> HouseSampled:
    return HouseSampled(
        time=START + timedelta(minutes=minute), pv_w=0.0, load_w=0.0, grid_w=0.0, battery_w=0.0,
        soc=0.5, import_wh=import_wh, export_wh=export_wh, pv_wh=pv_wh, load_wh=0.0,
        battery_discharge_wh=0.0,
    )  # fmt: skip


def test_cost_is_energy_times_the_price_of_its_quarter_hour(site: SiteConfig) -> None:
    prices = PricesPublished(
        market="CZ", published=START, start=START, step_s=900, eur_per_mwh=(100.0, 200.0)
    )
    events = [
        make_event("system.config-loaded", "site",
                   ConfigLoaded(kind="site", content_hash="x", site=site), "operator"),
        make_event("price.published", "market", prices, "gateway"),
        *(make_event("measurement.house.sampled", "house", m, "gateway", key=str(i))
          for i, m in enumerate((meter(0, 0, 0), meter(15, 1_000, 0), meter(30, 3_000, 500, 2_000)))),
    ]  # fmt: skip
    figures = account_of(events).figures()
    fees = 0.014 + 0.018 + 0.030
    bought = 1 * (0.1 + fees) * 1.21 + 2 * (0.2 + fees) * 1.21
    assert figures["cost_eur"] == pytest.approx(bought - 0.5 * (0.2 - 0.018))
    assert figures["self_consumption"] == pytest.approx(0.75)
    assert figures["saving_fraction"] is None, "no baseline, no saving"


def test_energy_without_a_price_is_counted_and_not_free(site: SiteConfig) -> None:
    events = [
        make_event("system.config-loaded", "site",
                   ConfigLoaded(kind="site", content_hash="x", site=site), "operator"),
        make_event("measurement.house.sampled", "house", meter(0, 0, 0), "gateway", key="a"),
        make_event("measurement.house.sampled", "house", meter(5, 700, 0), "gateway", key="b"),
    ]  # fmt: skip
    assert account_of(events).figures()["unpriced_kwh"] == pytest.approx(0.7)


def test_bands_held_are_counted_over_days_and_absent_without_scores() -> None:
    def day(number: int, n: int, held: float) -> Event:
        scores = AirScores(
            n=n, mae_k=0.1, rmse_k=0.1, bias_k=0.0, coverage_90=held, half_width_k=0.2
        )
        at = START + timedelta(days=number)
        data = AccuracyScored(time=at, since=at, until=at, issues=8, house={"6h": scores}, rooms={})
        return make_event("thermal.accuracy-scored", "house", data, "thermal", key=str(number))

    account = account_of([day(0, 100, 0.8), day(1, 300, 1.0)])
    assert account.figures()["bands_held_6h"] == pytest.approx(0.95)
    console = Console(width=120, file=StringIO())
    console.print(render(account))
    assert "bands held" in console.file.getvalue() and "6h 95%" in console.file.getvalue()
    console = Console(width=120, file=StringIO())
    console.print(render(account_of([])))
    assert "bands held" not in console.file.getvalue()


def stores(minute: int, **loads_wh: float | None) -> Event:
    at = START + timedelta(minutes=minute)
    zero = dict.fromkeys(
        ("export_wh", "pv_wh", "load_wh", "battery_discharge_wh", "soc", "comfort_deficit_kh", "ev_wh",
         "battery_stored_wh", "heat_stored_wh", "house_comfort_deficit_kh", "house_ev_wh",
         "house_battery_stored_wh", "house_heat_stored_wh"), 0.0,
    )  # fmt: skip
    data = BaselineSampled(time=at, import_wh=100.0 * minute, **zero, **loads_wh)
    return make_event("baseline.sampled", "house", data, "twin", key=str(minute))


def test_a_load_that_still_waits_is_no_saving() -> None:
    early = stores(0, loads_wh=1_000.0, house_loads_wh=0.0)
    late = stores(30, loads_wh=6_000.0, house_loads_wh=2_000.0)
    account = account_of([early, late])
    assert account.figures()["behind_loads_kwh"] == pytest.approx(3.0)
    grown = account_of([stores(-15), early, late])  # a log that is older than loads are
    assert grown.figures()["behind_loads_kwh"] == pytest.approx(3.0)
    old = account_of([stores(0), stores(30)])
    assert "behind_loads_kwh" not in old.figures()
    for one, said in ((account, True), (old, False)):
        console = Console(width=120, file=StringIO())
        console.print(render(one))
        assert ("loads +3.0" in console.file.getvalue()) is said


def rows(first: int, last: int) -> list[archive.Row]:
    return [
        archive.row(n, "pems.home.clock.site.ticked", {"ce-id": str(n), "Nats-Num": "1"}, b"{}")
        for n in range(first, last + 1)
    ]


def test_archive_round_trip_and_repetition(tmp_path: Path) -> None:
    archive.write_part(tmp_path, rows(1, 10))
    archive.write_part(tmp_path, rows(5, 20))
    archive.write_part(tmp_path, rows(1, 20))
    assert list(archive.read_rows(tmp_path)) == rows(1, 20)
    assert [row.sequence for row in archive.read_rows(tmp_path, 8, 12)] == [8, 9, 10, 11, 12]
    assert archive.problems(tmp_path) == []


def test_a_gap_is_refused(tmp_path: Path) -> None:
    archive.write_part(tmp_path, rows(1, 10))
    with pytest.raises(ValueError, match="archive ends at 10"):
        archive.write_part(tmp_path, rows(12, 14))


def test_every_alteration_shows(tmp_path: Path) -> None:
    for first in (1, 11, 21):
        archive.write_part(tmp_path, rows(first, first + 9))
    second = tmp_path / archive.parts_of(tmp_path)[1].file
    kept = second.read_bytes()
    altered = rows(11, 20)
    altered[3] = archive.Row(14, altered[3].subject, altered[3].headers, b'{"x":1}')
    columns = {name: [getattr(item, name) for item in altered] for name in archive.SCHEMA.names}
    archive.pq.write_table(archive.pa.table(columns, schema=archive.SCHEMA), second)
    assert any("was altered" in text for text in archive.problems(tmp_path))
    second.write_bytes(kept[: len(kept) // 2])
    assert any("does not read" in text for text in archive.problems(tmp_path))
    second.unlink()
    assert any("is missing" in text for text in archive.problems(tmp_path))
    second.write_bytes(kept)
    assert archive.problems(tmp_path) == []
