"""The site file: the shipped one is valid, and every mistake is told with field and fix."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from contracts.generate import pages
from contracts.site import SiteConfig, explain

Break = Callable[[Any], None]


def put(*path: Any) -> Break:
    """Set the last element of the path at the others."""

    def change(values: Any) -> None:
        *steps, key, value = path
        for step in steps:
            values = values[step]
        values[key] = value

    return change


def drop(*path: Any) -> Break:
    """Remove a field."""

    def change(values: Any) -> None:
        *steps, key = path
        for step in steps:
            values = values[step]
        del values[key]

    return change


def twice(key: str) -> Break:
    """Repeat the first entry of a list."""

    def change(values: Any) -> None:
        values[key].append(values[key][0])

    return change


def evenings(**changes: Any) -> Break:
    """Change the first period of the profile ``living``."""

    def change(values: Any) -> None:
        values["comfort"]["living"][0].update(changes)

    return change


BROKEN: dict[str, tuple[Break, str, str]] = {
    "missing part": (drop("inverter"), "inverter:", "is missing; add it"),
    "missing field": (drop("rooms", 3, "heater_w"), "rooms.3.heater_w:", "is missing; add it"),
    "misspelt field": (
        put("battery", "capacity_kwh", 12.8), "battery.capacity_kwh:", "check the spelling"),
    "latitude": (put("location", "latitude", 500.5), "location.latitude:", "equal to 90"),
    "time zone": (
        put("location", "timezone", "Prague"), "location.timezone:", "write for example Europe/"),
    "country": (put("location", "country", "cz"), "location.country:", "^[A-Z]{2}$"),
    "negative power": (put("rooms", 0, "heater_w", -5), "rooms.0.heater_w:", "(given: -5)"),
    "words for a number": (
        put("rooms", 0, "heater_w", "much"), "rooms.0.heater_w:", "valid number"),
    "not a number": (
        put("rooms", 0, "floor_area_m2", float("nan")), "rooms.0.floor_area_m2:", "finite"),
    "room id": (put("rooms", 0, "id", "Living Room"), "rooms.0.id:", "match pattern"),
    "room twice": (put("rooms", 1, "id", "living"), "rooms: id 'living'", "give each room its own"),
    "unknown profile": (
        put("rooms", 0, "comfort", "cosy"), "rooms.living.comfort:", "known: bathing, living"),
    "unknown neighbour": (
        put("rooms", 0, "neighbours", ["attic"]), "rooms.living.neighbours:", "'attic' is no"),
    "own neighbour": (
        put("rooms", 0, "neighbours", ["living"]), "rooms.living.neighbours:", "no other room"),
    "no rooms": (put("rooms", []), "rooms:", "at least 1 item"),
    "band upside down": (
        evenings(low_c=24.0), "comfort.living.0:", "low_c 24.0 must be below high_c 23.5"),
    "band in kelvin": (evenings(high_c=293.0), "comfort.living.0.high_c:", "equal to 120"),
    "no such hour": (evenings(start="25:30"), "comfort.living.0.start:", "hour value is outside"),
    "no such day": (evenings(days=["monday"]), "comfort.living.0.days.0:", "'mon', 'tue'"),
    "day without a period": (
        put("comfort", "living", [{"days": ["mon"], "start": "06:00", "low_c": 20, "high_c": 23}]),
        "comfort.living:", "no period on tue; add one"),
    "empty profile": (put("comfort", "living", []), "comfort.living:", "no period on mon; add one"),
    "profile name": (put("comfort", "Living room", []), "comfort.Living room", "match pattern"),
    "charge levels": (put("battery", "soc_min", 0.95), "battery:", "soc_min 0.95 must be below"),
    "percent for a fraction": (put("tariff", "vat", 21), "tariff.vat:", "(given: 21)"),
    "EUR/MWh for EUR/kWh": (
        put("tariff", "supplier_fee_eur_per_kwh", 14), "tariff.supplier_fee_eur_per_kwh:", "to 10"),
    "two phases": (put("evs", 0, "phases", 2), "evs.0.phases:", "1 or 3"),
    "current below the standard": (
        put("evs", 0, "current_min_a", 4), "evs.0.current_min_a:", "equal to 6"),
    "no fuse": (put("grid", "import_limit_w", 0), "grid.import_limit_w:", "greater than 0"),
    "export limit without an inverter to set it": (
        put("battery", None), "inverter.curtailable:", "describe the battery or leave it false"),
    "azimuth": (put("pv", 0, "azimuth_deg", 360), "pv.0.azimuth_deg:", "less than 360"),
}  # fmt: skip

UNSEEN: dict[str, tuple[Break, str, str]] = {
    "22:00 without quotes": (evenings(start=1320), "comfort.living.0.start:", "quotes"),
    "hours of low tariff without quotes": (
        put("tariff", "low_hours", 3, "start", 1020), "tariff.low_hours.3.start:", "quotes"),
    "departure without quotes": (
        put("evs", 0, "default_departure", 420), "evs.0.default_departure:", "quotes"),
    "local time with an offset": (evenings(start="05:30Z"), "comfort.living.0.start:", "offset"),
    "least current above the most": (
        put("evs", 0, "current_min_a", 32), "evs.0:", "current_min_a 32.0 must not be above"),
    "car twice": (twice("evs"), "evs: id 'car'", "give each"),
    "modules twice": (twice("pv"), "pv: name 'south'", "give each"),
    "no days": (evenings(days=[]), "comfort.living.0.days:", "at least one day"),
    "two periods from the same time": (
        put("comfort", "passing", [{"start": "00:00", "low_c": 17, "high_c": 23}] * 2),
        "comfort.passing:", "two periods start at 00:00 on mon"),
    "span of no length": (
        put("tariff", "low_hours", [{"start": "06:00", "end": "06:00"}]),
        "tariff.low_hours.0:", "end"),
    "id that leaves no room for relay-": (
        put("rooms", 15, "id", "w" * 48), "rooms.15.id:", "at most"),
    "yes for a number": (put("battery", "soc_max", True), "battery.soc_max:", "number"),
}  # fmt: skip


def problems(values: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        SiteConfig.model_validate(values)
    return explain(caught.value)


@pytest.mark.parametrize(("change", "field", "fix"), BROKEN.values(), ids=BROKEN.keys())
def test_a_mistake_names_field_and_fix(
    site_values: Any, change: Break, field: str, fix: str
) -> None:
    change(site_values)
    said = problems(site_values)
    assert len(said.splitlines()) == 1, said
    assert field in said
    assert fix in said


@pytest.mark.parametrize(("change", "field", "fix"), UNSEEN.values(), ids=UNSEEN.keys())
def test_a_mistake_that_is_easily_made(
    site_values: Any, change: Break, field: str, fix: str
) -> None:
    change(site_values)
    said = problems(site_values)
    assert field in said
    assert fix in said


def test_a_list_with_one_mistake_in_all_its_values_gets_one_line(site_values: Any) -> None:
    put("comfort", "living", 0, "days", ["someday"] * 3 + ["mon"])(site_values)
    put("location", "latitude", 500.5)(site_values)
    lines = problems(site_values).splitlines()
    assert len(lines) == 2, lines
    [days] = [line for line in lines if line.startswith("comfort.living.0.days.0:")]
    assert days.endswith(", and so 2 more values of the list")


def test_every_mistake_gets_its_own_line(site_values: Any) -> None:
    put("location", "latitude", 500.5)(site_values)
    drop("inverter")(site_values)
    put("tariff", "vta", 0.21)(site_values)
    assert [line.split(":")[0] for line in problems(site_values).splitlines()] == [
        "location.latitude",
        "inverter",
        "tariff.vta",
    ]


def test_no_mapping_at_all() -> None:
    assert "site file: Input should be" in problems([])


class TestTheShippedHouse:
    def test_is_the_house_of_the_design(self, site: SiteConfig) -> None:
        assert len(site.rooms) == 16
        assert site.location.timezone == "Europe/Prague"
        assert site.pv_peak_w == 10_000
        assert len(site.devices()) == 16 + 2 + 1 + 1
        assert len(set(site.devices())) == len(site.devices())

    def test_neighbours_see_each_other(self, site: SiteConfig) -> None:
        pairs = {(room.id, other) for room in site.rooms for other in room.neighbours}
        assert {(a, b) for a, b in pairs if (b, a) not in pairs} == set()

    def test_every_profile_is_used(self, site: SiteConfig) -> None:
        assert {room.comfort for room in site.rooms} == set(site.comfort)

    def test_every_room_can_be_heated_on_a_winter_day(self, site: SiteConfig) -> None:
        for room in site.rooms:
            highest = max(period.low_c for period in site.comfort[room.comfort])
            assert room.heater_w > room.heat_loss_w_per_k * (highest + 12), room.id

    def test_the_car_and_the_fuse(self, site: SiteConfig) -> None:
        car = site.evs[0]
        assert car.max_w == 16 * 230 * 3
        assert car.min_w == 6 * 230 * 3
        assert car.max_w < site.grid.import_limit_w

    def test_hash_is_of_the_content(self, site: SiteConfig, site_values: Any) -> None:
        again = SiteConfig.model_validate_json(site.model_dump_json())
        assert again == site
        assert again.content_hash() == site.content_hash()
        site_values["battery"]["soc_min"] = 0.11
        assert SiteConfig.model_validate(site_values).content_hash() != site.content_hash()


class TestSchemaForEditors:
    def test_accepts_the_shipped_house(self, site_yaml: Any) -> None:
        schema = pages.site_schema()
        jsonschema.Draft7Validator.check_schema(schema)
        jsonschema.Draft7Validator(schema).validate(site_yaml)

    @pytest.mark.parametrize(
        "case",
        ["missing part", "misspelt field", "latitude", "country", "room id", "no such day",
         "two phases", "no such hour", "azimuth", "percent for a fraction"],
    )  # fmt: skip
    def test_marks_mistakes_while_typing(self, site_values: Any, case: str) -> None:
        BROKEN[case][0](site_values)
        validator = jsonschema.Draft7Validator(pages.site_schema())
        assert list(validator.iter_errors(site_values))

    def test_marks_a_time_without_quotes(self, site_values: Any) -> None:
        evenings(start=1320)(site_values)
        assert list(jsonschema.Draft7Validator(pages.site_schema()).iter_errors(site_values))

    def test_needs_nothing_but_draft_07(self) -> None:
        text = json.dumps(pages.site_schema())
        assert "$defs" not in text
        assert '"format": "time"' not in text
