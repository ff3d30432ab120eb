import datetime as dt
from pathlib import Path

import pytest

from contracts.site import SiteConfig
from twin.baseline import Baseline, Meter, as_dict
from twin.house import House
from twin.recording import plot_days, record
from twin.scenario import Scenario
from twin.state import Actuation


def test_baseline_is_the_house_without_commands(site: SiteConfig, winter: Scenario) -> None:
    end = winter.start + dt.timedelta(hours=12)
    baseline = Baseline.warmed(site, winter, 7, winter.start)
    house = House.warmed(site, winter, 7, winter.start)
    assert baseline.house.observe() == house.observe()
    assert baseline.advance(end) == house.step(end)
    reading = baseline.reading
    seen = house.observe()
    assert reading.import_kwh == pytest.approx(seen.import_wh / 1000)
    assert reading.heating_kwh == pytest.approx(house.truth.heating_wh / 1000)
    assert 0 < reading.cost_eur < 50
    assert as_dict(reading)["cost_eur"] == reading.cost_eur


def test_meter_prices_each_quarter(site: SiteConfig, winter: Scenario) -> None:
    house = House(site, winter, 7, winter.start)
    meter = Meter(site, winter, house)
    expected = 0.0
    before = 0.0
    for k in range(8):
        seen = house.step(
            winter.start + dt.timedelta(minutes=15 * (k + 1)), Actuation(battery_power_w=3_000.0)
        )
        meter.add(seen)
        row = winter.prices.index(winter.start_s + 900 * k)
        local = (winter.start + dt.timedelta(minutes=15 * k)).astimezone(site.location.zone)
        spot = float(winter.prices["eur_per_mwh"][row])
        expected += site.tariff.buy_eur_per_kwh(spot, local) * (seen.import_wh - before) / 1000
        before = seen.import_wh
    assert meter.reading(house.truth).import_eur == pytest.approx(expected)
    assert meter.reading(house.truth).export_eur == 0
    meter.add(seen)  # the same moment again counts nothing
    assert meter.reading(house.truth).import_eur == pytest.approx(expected)


def test_meter_refuses_to_guess_prices(site: SiteConfig, winter: Scenario) -> None:
    house = House(site, winter, 7, winter.start)
    meter = Meter(site, winter, house)
    with pytest.raises(ValueError, match="crosses a quarter hour"):
        meter.add(house.step(winter.start + dt.timedelta(minutes=16)))


def test_meter_survives_a_restart(site: SiteConfig, winter: Scenario) -> None:
    end = winter.start + dt.timedelta(hours=2)
    whole = Baseline(House(site, winter, 7, winter.start))
    whole.advance(end)
    half = Baseline(House(site, winter, 7, winter.start))
    half.advance(winter.start + dt.timedelta(minutes=50))
    state, money = half.house.save(), half.meter.save()
    again = Baseline(House(site, winter, 7, winter.start))
    again.house.load(state)
    again.meter.load(money, again.house)
    again.advance(end)
    # The meter saw one piece more (50 minutes is not on a quarter), so only rounding may differ.
    assert as_dict(again.reading) == pytest.approx(as_dict(whole.reading))


def test_recording_and_picture(site: SiteConfig, winter: Scenario, tmp_path: Path) -> None:
    house = House(site, winter, 7, winter.start)
    recording = record(house, winter.start + dt.timedelta(hours=3), 900)
    assert recording.air_c.shape == (12, 16)
    assert recording.grid_w == pytest.approx(
        recording.base_w + recording.heating_w + recording.ev_w
        + recording.battery_w - recording.pv_w
    )  # fmt: skip
    plot_days(recording, tmp_path / "days.png", rooms=("living", "nowhere"))
    assert (tmp_path / "days.png").stat().st_size > 10_000
