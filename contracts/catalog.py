"""THE table: every event of the house, who may say it, who hears it, how often, how old it may be.

Streams, consumers, broker permissions, the AsyncAPI document, the event reference and the
staleness rules are generated from it; nothing else in the house lists events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from contracts.base import Record
from contracts.events import (
    clock,
    command,
    forecast,
    measurement,
    override,
    plan,
    price,
    safety,
    system,
    thermal,
    weather,
)

SERVICES = ("forecast", "thermal", "optimizer", "dispatcher", "safety", "gateway", "historian")
ALL = SERVICES
PEOPLE = ("client", "operator", "gateway")


Model = type[Record]


@dataclass(frozen=True, slots=True)
class Row:
    """One event type.

    Attributes
    ----------
    type : family, maybe a kind, and verb; the subject's family and verb are its ends
    entity : the subject's entity; ``{room}``, ``{ev}``, ``{load}``, ``{device}``, ``{target}`` and
        ``{service}`` stand for the names of the site
    by : users that may publish it
    heard_by : services whose consumer delivers it (the historian hears everything)
    period_s : expected period, None for events that come when they come
    max_age_s : older than this it must not carry a decision, None for no limit
    bare : people may send it as plain JSON without headers
    """

    type: str
    version: int
    model: Model
    entity: str
    by: tuple[str, ...]
    heard_by: tuple[str, ...] = ()
    period_s: int | None = None
    max_age_s: int | None = None
    bare: bool = False

    @property
    def family(self) -> str:
        """First token of the type."""
        return self.type.split(".")[0]

    @property
    def verb(self) -> str:
        """Last token of the type."""
        return self.type.rsplit(".", 1)[-1]


C, M, F, S = clock, measurement, forecast, system
CATALOG: tuple[Row, ...] = (
    # type, version, payload, entity, said by, heard by, period s, max age s
    Row("clock.ticked", 1, C.Ticked, "site", ("gateway", "twin"), ALL, 60, 180),
    Row("measurement.room.sampled", 1, M.RoomSampled, "room-{room}", ("gateway",),
        ("thermal", "forecast", "optimizer", "safety"), 300, 900),
    Row("measurement.house.sampled", 1, M.HouseSampled, "house", ("gateway",),
        ("forecast", "optimizer", "dispatcher", "safety"), 300, 600),
    Row("measurement.ev.sampled", 1, M.EvSampled, "ev-{ev}", ("gateway",),
        ("forecast", "optimizer", "dispatcher", "safety"), 300, 900),
    Row("measurement.load.sampled", 1, M.LoadSampled, "load-{load}", ("gateway",),
        ("forecast", "optimizer", "safety"), 300, 900),
    Row("measurement.outdoor.sampled", 1, M.OutdoorSampled, "outdoor", ("gateway",),
        ("thermal",), 300, 3_600),
    Row("measurement.sweep.completed", 1, M.SweepCompleted, "house", ("gateway",),
        ("thermal",), 300, 900),
    Row("baseline.sampled", 1, M.BaselineSampled, "house", ("twin",), (), 300),
    Row("weather.forecast-issued", 1, weather.WeatherForecastIssued, "site", ("gateway",),
        ("forecast", "thermal"), 3_600, 12 * 3_600),
    Row("price.published", 1, price.PricesPublished, "market", ("gateway",),
        ("forecast", "optimizer"), 86_400, 36 * 3_600),
    Row("forecast.issued", 1, F.ForecastIssued, "{quantity}", ("forecast",),
        ("optimizer", "forecast"), 3_600, 3 * 3_600),
    Row("forecast.accuracy-scored", 1, F.AccuracyScored, "{quantity}", ("forecast",), (), 86_400),
    Row("thermal.state-estimated", 1, thermal.StateEstimated, "house", ("thermal",),
        ("optimizer",), 300, 900),
    Row("thermal.dynamics-issued", 1, thermal.DynamicsIssued, "house", ("thermal",),
        ("optimizer",), 3_600, 3 * 3_600),
    Row("thermal.accuracy-scored", 1, thermal.AccuracyScored, "house", ("thermal",), (), 86_400),
    Row("thermal.model-identified", 1, thermal.ModelIdentified, "house", ("thermal",),
        ("thermal",)),
    Row("plan.computed", 1, plan.PlanComputed, "house", ("optimizer",),
        ("dispatcher", "thermal", "optimizer"),
        3_600, 6 * 3_600),
    Row("plan.ladder-descended", 1, plan.LadderDescended, "house", ("optimizer",)),
    Row("command.proposed", 2, command.Proposed, "{device}", ("dispatcher", "safety"),
        ("safety",)),
    Row("command.approved", 2, command.Approved, "{device}", ("safety",), ("gateway",)),
    Row("command.rejected", 2, command.Rejected, "{device}", ("safety",), ("dispatcher",)),
    Row("command.executed", 1, command.Executed, "{device}", ("gateway",),
        ("gateway", "forecast")),
    Row("command.verified", 1, command.Verified, "{device}", ("gateway",),
        ("dispatcher", "safety", "gateway")),
    Row("command.failed", 1, command.Failed, "{device}", ("gateway",),
        ("dispatcher", "safety", "gateway")),
    Row("command.expired", 1, command.Expired, "{device}", ("gateway",),
        ("dispatcher", "gateway")),
    Row("command.superseded", 1, command.Superseded, "{device}", ("gateway",)),
    Row("override.requested", 1, override.Requested, "{target}", PEOPLE, ("dispatcher",),
        bare=True),
    Row("override.cancel-requested", 1, override.CancelRequested, "{target}", PEOPLE,
        ("dispatcher",), bare=True),
    Row("override.granted", 1, override.Granted, "{target}", ("dispatcher",), ("optimizer",)),
    Row("override.refused", 1, override.Refused, "{target}", ("dispatcher",)),
    Row("override.ended", 1, override.Ended, "{target}", ("dispatcher",), ("optimizer",)),
    Row("override.detected", 1, override.Detected, "{target}", ("gateway",), ("dispatcher",)),
    Row("safety.mode-changed", 1, safety.ModeChanged, "house", ("safety",),
        ("dispatcher", "gateway")),
    Row("safety.stop-requested", 1, safety.StopRequested, "house", PEOPLE, ("safety",),
        bare=True),
    Row("safety.clear-requested", 1, safety.ClearRequested, "house", PEOPLE, ("safety",),
        bare=True),
    Row("system.config-loaded", 1, S.ConfigLoaded, "{kind}", ("operator",), ALL),
    Row("system.model-promoted", 1, S.ModelPromoted, "{quantity}", ("operator", "trainer"),
        ("forecast", "thermal")),
    Row("system.model-checked", 1, S.ModelChecked, "{quantity}", ("forecast", "thermal"),
        ("forecast",)),
    Row("system.heartbeat", 1, S.Heartbeat, "{service}", SERVICES, ("safety",), 300, 900),
    Row("system.message-quarantined", 1, S.MessageQuarantined, "{service}", SERVICES),
    Row("system.limits-reported", 1, S.LimitsReported, "house", ("gateway",), ("safety",),
        300, 900),
    Row("system.report-issued", 1, S.ReportIssued, "house", ("historian",), (), 86_400),
)  # fmt: skip

BY_TYPE: Mapping[str, Row] = {row.type: row for row in CATALOG}


def subject(site: str, type_: str, entity: str) -> str:
    """The subject of an event: ``pems.{site}.{family}.{entity}.{verb}``."""
    row = BY_TYPE[type_]
    return f"pems.{site}.{row.family}.{entity}.{row.verb}"


def entity_of(row: Row, data: Record) -> str | None:
    """The entity that a payload speaks of; None where only the subject says it."""
    if "{" not in row.entity:
        return row.entity
    prefix, placeholder = row.entity.rstrip("}").split("{")
    name = getattr(data, placeholder, None)
    return None if name is None else f"{prefix}{name}"


def hears(service: str) -> frozenset[str]:
    """Types that a service's consumer delivers."""
    if service == "historian":
        return frozenset(BY_TYPE)
    return frozenset(row.type for row in CATALOG if service in row.heard_by)


def says(user: str) -> frozenset[str]:
    """Types that a user may publish."""
    return frozenset(row.type for row in CATALOG if user in row.by)


def publish_subjects(user: str, site: str) -> list[str]:
    """Broker permission of a user: the subjects it may publish on, entities as wildcards."""
    return sorted(
        {
            f"pems.{site}.{row.family}.{_own(row.entity, user)}.{row.verb}"
            for row in CATALOG
            if user in row.by
        }
    )


def filter_subjects(service: str, site: str, names: Mapping[str, Iterable[str]]) -> list[str]:
    """Filters of a service's consumer; none overlaps another.

    Parameters
    ----------
    names : the site's names by placeholder (``room``, ``ev``, ...), to spell out a kind of
        entity where a service hears only some kinds of one (family, verb).
    """
    if service == "historian":
        return [f"pems.{site}.>"]
    heard = hears(service)
    filters: set[str] = set()
    for row in CATALOG:
        if row.type not in heard:
            continue
        same = [r for r in CATALOG if (r.family, r.verb) == (row.family, row.verb)]
        if len(same) == 1:
            filters.add(f"pems.{site}.{row.family}.{_wild(row.entity)}.{row.verb}")
            continue
        for entity in _spelled(row.entity, names):
            filters.add(f"pems.{site}.{row.family}.{entity}.{row.verb}")
    return sorted(filters)


def _own(entity: str, user: str) -> str:
    """A service speaks of its own health only."""
    return user if entity == "{service}" else _wild(entity)


def _wild(entity: str) -> str:
    return "*" if "{" in entity else entity


def _spelled(entity: str, names: Mapping[str, Iterable[str]]) -> list[str]:
    if "{" not in entity:
        return [entity]
    prefix, placeholder = entity.rstrip("}").split("{")
    return [f"{prefix}{name}" for name in names[placeholder]]
