"""One example of every event, built from its JSON Schema and a table of believable values.

Deterministic: the same models give the same examples. A value is looked up by the longest
ending of its path that stands in ``VALUES`` (the type, then the fields, joined with dots); what
is not there follows from the schema alone.
"""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from pydantic import ValidationError

from contracts import catalog, envelope
from contracts.catalog import Row
from contracts.site import explain
from contracts.units import LEAD_PATTERN

NOON = datetime(2026, 1, 15, 11, 0, tzinfo=UTC)
SITE = "home"
SEQUENCE = 4_711

Json = dict[str, Any]


class ExampleError(ValueError):
    """No valid example could be built; says which value to add to ``VALUES``."""


def _at(**later: float) -> str:
    return envelope.stamp(NOON + timedelta(**later))


def _id_of(type_: str) -> str:
    """The id that the example of this type carries, so that examples refer to each other."""
    return envelope.event_id(f"example/{SITE}", catalog.BY_TYPE[type_].by[0], type_, 0)


_SERIES_W = [0.0, 640.0, 1_920.0]

VALUES: dict[str, Any] = {
    # instants
    "time": _at(), "start": _at(), "issued": _at(), "valid_from": _at(), "since": _at(days=-1),
    "published": _at(hours=1.75), "until": _at(minutes=10), "expires": _at(minutes=2),
    "departure": _at(hours=19), "trained_until": _at(days=-7),
    "system.report-issued.until": _at(),
    "override.requested.until": None, "override.granted.until": _at(hours=2),
    "override.granted.since": _at(),
    # names
    "room": "living", "ev": "car", "load": "boiler", "measurement.load.sampled.power_w": 2_000.0,
    "on": True, "device": "relay-living", "target": "room-living",
    "service": "optimizer", "actor": "resident", "site": SITE, "id": "living",
    "kind": "relay", "system.config-loaded.kind": "site", "what": "comfort-low",
    "wanted": "full", "used": "restricted", "source": "app",
    "weather.forecast-issued.source": "open-meteo", "market": "CZ", "mode": "normal",
    "before": "normal", "after": "degraded",
    "latched": False, "plugged": True, "ok": True, "fresh": True,
    # what people and services say
    "reason": "the price is below the mean of the next 24 h",
    "override.requested.reason": "guests tonight",
    "override.refused.reason": "ev-car is not plugged in",
    "override.ended.reason": "time is up",
    "command.rejected.reason": "the newest room temperature is 1,260 s old, 900 s is the most",
    "command.failed.reason": "no answer in 10 s",
    "plan.computed.reason": "a new price list",
    "plan.ladder-descended.reason": "the full method used up its work limit",
    "safety.stop-requested.reason": "smoke in the boiler room",
    "safety.clear-requested.reason": "it was burnt toast",
    "churn.reasons": ["a new price list"],
    "reasons": ["stale: measurement.room.sampled"], "rule": "reading-age",
    "reading": "measurement.room.sampled", "clamped_by": None, "error": "soc: is missing; add it",
    "method": "seasonal-history", "metric": "mean absolute error, W", "notes": ["a quiet day"],
    "flags": ["weather-fresh"], "missing": ["room-study"], "certificate": "lower bound from duals",
    "solver": "highs", "steps_down": [], "identified": ["air_outside_w_per_k"],
    "figures": {"cost_eur": 4.31, "baseline_cost_eur": 5.02, "self_consumption_fraction": 0.93},
    "subject": f"pems.{SITE}.measurement.house.sampled",
    # links between events
    "proposal": _id_of("command.proposed"), "verdict": _id_of("command.approved"),
    "plan": _id_of("plan.computed"), "override": _id_of("override.requested"),
    "by": _id_of("command.approved"),
    "because": [_id_of("price.published"), _id_of("thermal.state-estimated")],
    "overrides": [_id_of("override.granted")],
    "content_hash": "5f0c" * 16, "model_hash": "a93e" * 16,
    "parent_hash": "a93f" * 16, "problem_hash": "17d2" * 16,
    "data_hash": "c0de" * 16, "key": "safety-2026-01", "signature": "c2lnbmF0dXJl" * 7 + "c2ln",
    "previous_plan_id": _id_of("plan.computed"),
    # quantities
    "value": 1, "asked": 1, "expected": 1, "observed": 1, "command.failed.observed": None,
    "command.rejected.evidence.value": 1_260, "command.rejected.evidence.age_s": 1_260,
    "command.rejected.evidence.ok": False, "command.rejected.mode": "degraded",
    "evidence.value": 212, "evidence.limit": 900, "evidence.age_s": 212,
    "override.requested.value": 22.5, "override.granted.value": 22.5,
    "override.detected.value": 1, "quantity": "temperature_c",
    "override.detected.quantity": "relay", "override.detected.target": "relay-living",
    "forecast.issued.quantity": "pv", "system.model-promoted.quantity": "load", "minutes": 120,
    "temperature_c": 21.4, "air_c": 21.4, "mass_c": 21.9, "disturbance_w": 85.0, "stdev_c": 0.08,
    "outdoor_c": -2.5, "measurement.outdoor.sampled.temperature_c": -2.5, "relay_on": True,
    "pv_w": 3_120.0, "load_w": 1_480.0, "grid_w": -240.0, "battery_w": 1_400.0, "soc": 0.62,
    "power_w": 7_360.0, "current_limit_a": 16.0, "session_wh": 8_200.0, "target_wh": 15_000.0,
    "import_wh": 4_182_300.0, "export_wh": 2_903_100.0, "pv_wh": 9_420_700.0,
    "load_wh": 8_011_900.0, "battery_discharge_wh": 1_733_000.0, "ghi_w_m2": 310.0,
    "battery_stored_wh": 7_900.0, "heat_stored_wh": 61_000.0, "house_battery_stored_wh": 8_100.0,
    "house_heat_stored_wh": 64_500.0, "ev_wh": 8_200.0, "house_ev_wh": 8_200.0,
    "loads_wh": 5_000.0, "house_loads_wh": 5_000.0,
    "wind_m_s": 3.2, "comfort_deficit_kh": 1.8, "house_comfort_deficit_kh": 0.6,
    "rooms_heat": 0.375, "interval_s": 60, "number": 4_320, "handled": SEQUENCE,
    "sequence": SEQUENCE, "disk_free_bytes": 41_000_000_000, "log_bytes": 182_000_000,
    "score": 182.4, "step_s": 900, "known_steps": 0,
    "p10": [900.0, 1_150.0, 1_300.0], "p50": [1_400.0, 1_700.0, 1_880.0],
    "p90": [1_900.0, 2_150.0, 2_300.0], "eur_per_mwh": [84.12, 79.5, 61.03, -2.4],
    "weather.forecast-issued.temperature_c": [-2.5, -2.1, -1.8],
    "weather.forecast-issued.ghi_w_m2": [310.0, 295.0, None],
    "dni_w_m2": [520.0, 498.0, None], "dhi_w_m2": [96.0, 97.0, None],
    "weather.forecast-issued.wind_m_s": [3.2, 3.4, 3.9],
    "cloud_cover_percent": [20.0, 35.0, None],
    "weather.forecast-issued.step_s": 3_600, "price.published.step_s": 900,
    # a plan of three steps
    "plan.computed.plan.step_s": [900, 900, 1_800], "rooms.relay": [1.0, 0.0, 0.5],
    "rooms.air_c": [21.4, 21.6, 21.3, 21.4], "rooms.mass_c": [21.9, 21.9, 21.9, 21.9],
    "evs.power_w": [0.0, 4_140.0, 7_360.0], "stored_kwh": [8.2, 8.2, 9.2, 12.9],
    "deferrable_loads.power_w": [0.0, 0.0, 900.0], "plan.computed.plan.evs.name": "car",
    "deferrable_loads.name": "dishwasher",
    "battery_charge_w": _SERIES_W, "battery_discharge_w": [410.0, 0.0, 0.0],
    "battery_soc_fraction": [0.62, 0.61, 0.62, 0.69], "grid_import_w": [0.0, 1_210.0, 3_800.0],
    "grid_export_w": [120.0, 0.0, 0.0], "curtailed_w": [0.0, 0.0, 0.0],
    "marginal_price_eur_per_kwh": [0.231, 0.198, 0.176], "steps": [1, 2], "seed": 1,
    "violations.unit": "K*h", "violations.entity": "living", "binding_limits.entity": "grid",
    "binding_limits.what": "import-limit", "gap_fraction": 0.004, "bound_eur": 4.29,
    "expected_cost_eur": 4.31, "energy_bought_eur": 4.0, "energy_sold_eur": -0.09,
    "total_eur": 4.31,
    "chance_below": [0.02, 0.05, 0.12],
    # a thermal model
    "rooms.name": "living", "couplings.room_a": "living", "couplings.room_b": "kitchen",
    "model.rooms": ["living", "kitchen"], "air_capacity_j_per_k": 1.9e6,
    "mass_capacity_j_per_k": 1.1e7, "air_outside_w_per_k": 21.0, "air_mass_w_per_k": 310.0,
    "internal_gain_w": [60.0] * 7 + [180.0] * 2 + [90.0] * 8 + [220.0] * 5 + [60.0] * 2,
    "heat_shares.source": "heat_living", "heat_shares.fraction": 1.0, "band_scale.factor": 1.1,
    "band_scale.lead_s": 3_600.0, "standard_errors.parameter": "air_outside_w_per_k",
    "trained_from_epoch_s": 1_765_800_000, "trained_to_epoch_s": 1_768_400_000,
    "sample_step_s": 300, "code_version": "2026.1.0", "provenance.method": "prediction-error",
    "model-identified.method": "prediction-error", "heater_power_w": 2_400.0,
    "standard_error": 1.3, "standard_error_w_per_k": 2.1, "conductance_w_per_k": 18.0,
    "heat_to_mass_fraction": 0.8, "solar_to_mass_fraction": 0.5, "disturbance_sd_w": 100.0,
    "disturbance_time_s": 21_600.0, "measurement_sd_c": 0.05, "solar_apertures.tilt_deg": 90.0,
    "emitter_lag_s": 1_800.0, "relay_steps_compared": 48, "relay_steps_changed": 5,
    "pricing_rounds": 6, "columns": 212, "rooms_priced": 96, "lp_solves": 7, "mip_solves": 1,
    "amount": 0.4, "violations.cost_eur": 0.4, "comfort_eur": 0.4, "first_step": 2,
    "drift_air_k": [0.02, 0.01, -0.01], "drift_mass_k": [0.0, 0.0, -0.01],
    "half_width_k": [0.18, 0.22, 0.25], "house.n": 128, "rooms.n": 8, "mae_k": 0.21, "rmse_k": 0.27,
    "bias_k": -0.04, "coverage_90": 0.906, "house.half_width_k": 0.46, "rooms.half_width_k": 0.43,
    "issues": 8,
    "dynamics-issued.step_s": [900, 900, 900], "air_air": 0.93, "mass_air": 0.06,
    "air_mass": 0.004, "mass_mass": 0.995, "heat_air": 0.31, "heat_mass": 0.01,
    "time_zone": "Europe/Prague", "latitude_deg": 50.05, "longitude_deg": 14.65,
    "azimuth_deg": 180.0, "tilt_deg": 35.0,
    # a small house
    "latitude": 50.05, "longitude": 14.65, "altitude_m": 290.0, "timezone": "Europe/Prague",
    "country": "CZ", "site.rooms.name": "Living room", "site.rooms.comfort": "living",
    "site.rooms.neighbours": [], "site.comfort.days": ["mon", "tue", "wed", "thu", "fri", "sat",
    "sun"], "site.comfort.start": "05:30:00", "low_c": 20.5, "high_c": 23.5,
    "comfort_price_eur_per_kh": 0.5, "floor_area_m2": 34.0, "heater_w": 2_400.0,
    "heat_loss_w_per_k": 26.0, "area_m2": 7.0, "pv.name": "south", "peak_w": 6_000.0,
    "ac_limit_w": 10_000.0, "efficiency": 0.97, "capacity_wh": 12_800.0, "charge_max_w": 6_000.0,
    "discharge_max_w": 6_000.0, "soc_min": 0.1, "soc_max": 0.9, "charge_efficiency": 0.95,
    "discharge_efficiency": 0.95, "wear_eur_per_kwh": 0.02, "evs.id": "car",
    "evs.capacity_wh": 60_000.0, "voltage_v": 230.0, "current_min_a": 6.0, "current_max_a": 16.0,
    "default_departure": "07:00:00", "default_energy_kwh": 15.0, "import_limit_w": 17_250.0,
    "export_limit_w": 10_000.0, "supplier_fee_eur_per_kwh": 0.014,
    "distribution_high_eur_per_kwh": 0.082, "distribution_low_eur_per_kwh": 0.018,
    "system_fees_eur_per_kwh": 0.03, "low_hours.start": "20:00:00", "low_hours.end": "00:00:00",
    "low_hours.days": ["sat", "sun"], "vat": 0.21, "sell_fee_eur_per_kwh": 0.018,
    "monthly_fee_eur": 14.0, "system.config-loaded.safety": None,
}  # fmt: skip

KEYS = {"comfort": "living", LEAD_PATTERN: "24h"}
"""What the keys of a mapping are called in examples, by the field's name or the keys' pattern."""

ENTITIES = {
    "room": "living", "ev": "car", "load": "boiler", "device": "relay-living", "target": "room-living",
    "service": "optimizer", "quantity": "pv", "kind": "site",
}  # fmt: skip
"""What stands for a placeholder of a subject where the payload does not say it."""


def body(row: Row) -> Json:
    """A copy of the row's example payload, see ``_body``."""
    return copy.deepcopy(_body(row))


@cache
def _body(row: Row) -> Json:
    """A valid payload as canonical JSON values, with optional fields where they fit.

    Raises
    ------
    ExampleError
        when neither the full nor the lean example is valid.
    """
    schema = row.model.model_json_schema()
    for optional in (True, False):
        drawn = _Builder(schema, optional).build(schema, row.type)
        try:
            found = row.model.model_validate_json(json.dumps(drawn))
        except ValidationError as error:
            problem = explain(error)
            continue
        return dict(found.model_dump(mode="json"))
    raise ExampleError(
        f"{row.type} v{row.version}: the example is not valid:\n{problem}\n"
        "add a believable value for the field to VALUES in contracts/generate/examples.py"
    )


def event(row: Row) -> envelope.Event:
    """The example event, with the headers that the chassis would give it."""
    values = body(row)
    source = row.by[0]
    made = envelope.Event(
        type=row.type,
        version=row.version,
        site=SITE,
        entity=entity(row, values),
        id=_id_of(row.type),
        source=source,
        data=row.model.model_validate_json(json.dumps(values)),
        time=NOON,
        cause=_id_of("clock.ticked") if row.type != "clock.ticked" else "",
        correlation=_id_of("plan.computed") if row.family in ("command", "plan") else "",
        as_of=SEQUENCE,
        mode="live",
        code="2026.1.0",
        config="5f0c" * 4,
        traceparent=f"00-{'4bf92f35' * 4}-{'00f067aa' * 2}-01",
    )
    return replace(made, expiry=NOON + timedelta(minutes=2)) if "expires" in values else made


def stored(row: Row) -> Json:
    """The golden record of a row: subject, headers and body."""
    subject, headers, encoded = envelope.encode(event(row))
    return {"subject": subject, "headers": headers, "body": json.loads(encoded)}


def entity(row: Row, values: Json) -> str:
    """The entity that a payload speaks of, or a believable one where it names none."""
    if "{" not in row.entity:
        return row.entity
    prefix, placeholder = row.entity.rstrip("}").split("{")
    return f"{prefix}{values.get(placeholder, ENTITIES[placeholder])}"


class _Builder:
    """Walks a JSON Schema and fills it from the table."""

    def __init__(self, root: Json, optional: bool) -> None:
        self.root, self.optional = root, optional

    def build(self, schema: Json, path: str) -> Any:
        found = _resolve(schema, self.root)
        known, value = _look_up(path)
        branches = found.get("anyOf", [found])
        default = schema.get("default")
        if not known and default is not None and not isinstance(default, list | dict):
            return default
        if known and any(_fits(value, _resolve(b, self.root)) for b in branches):
            return value
        chosen = _resolve(branches[0], self.root)
        if chosen.get("type") == "object":
            return self._object(chosen, path)
        if chosen.get("type") == "array":
            return self._array(chosen, path, value if known else None)
        return _scalar(chosen, value if known else None)

    def _object(self, schema: Json, path: str) -> Json:
        if "properties" not in schema:
            patterns = schema.get("patternProperties", {})
            inner = next(iter(patterns.values()), schema.get("additionalProperties"))
            # Mappings by name carry the pattern of names; those without one are by a number.
            said = [KEYS[k] for k in (*patterns, path.rsplit(".", 1)[-1]) if k in KEYS]
            key = said[0] if said else "living" if patterns else "900"
            return {key: self.build(inner, path)} if isinstance(inner, dict) else {}
        needed = set(schema.get("required", ()))
        return {
            name: self.build(field, f"{path}.{name}")
            for name, field in schema["properties"].items()
            if name in needed or self.optional
        }

    def _array(self, schema: Json, path: str, names: Any) -> list[Any]:
        if "prefixItems" in schema:
            return [self.build(item, path) for item in schema["prefixItems"]]
        items = _resolve(schema["items"], self.root)
        if isinstance(names, list) and items.get("type") == "object":
            # A list of names for a list of records: one record of each name.
            return [{**self.build(items, path), "name": name} for name in names]
        return [self.build(items, path) for _ in range(max(1, schema.get("minItems", 1)))]


def _look_up(path: str) -> tuple[bool, Any]:
    parts = path.split(".")
    for start in range(len(parts)):
        key = ".".join(parts[start:])
        if key in VALUES:
            return True, VALUES[key]
    return False, None


def _resolve(schema: Json, root: Json) -> Json:
    if "$ref" not in schema:
        return schema
    return _resolve(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)


def _fits(value: Any, schema: Json) -> bool:
    """Whether a table value has the kind that the schema wants (bounds are pydantic's task)."""
    if "enum" in schema:
        return value in schema["enum"]
    if "const" in schema:
        return bool(value == schema["const"])
    kind = schema.get("type")
    if kind == "array":
        wants_records = "$ref" in schema.get("items", {})
        return isinstance(value, list) and not (
            wants_records and any(not isinstance(item, dict) for item in value)
        )
    if kind in ("integer", "number"):
        numeric = int if kind == "integer" else (int, float)
        return isinstance(value, numeric) and not isinstance(value, bool)
    kinds: dict[Any, type] = {"string": str, "boolean": bool, "null": type(None), "object": dict}
    return kind not in kinds or isinstance(value, kinds[kind])


def _scalar(schema: Json, series: Any) -> Any:
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "integer":
            return max(0, schema.get("minimum", 0), schema.get("exclusiveMinimum", -1) + 1)
        case "number":
            low = max(schema.get("minimum", 0.0), schema.get("exclusiveMinimum", -1.0))
            return _number(series, low, schema.get("maximum", low + 2.0))
        case "boolean":
            return False
        case "null":
            return None
        case _:
            return _at() if schema.get("format") == "date-time" else "living"


def _number(series: Any, low: float, high: float) -> float:
    if isinstance(series, list) and series and isinstance(series[0], float):
        return series[0]
    return min(low + 1.0, high) if low > 0 else max(low, 0.0)
