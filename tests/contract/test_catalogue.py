"""The table is the law of the house: who says what, who hears it, and nothing twice."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from contracts import catalog
from contracts.base import Record
from contracts.catalog import CATALOG, SERVICES, Row
from contracts.generate import examples
from contracts.site import SiteConfig

ROOT = Path(__file__).parents[2]
SITE = "home"
USERS = sorted({user for row in CATALOG for user in row.by})
TYPES = [row.type for row in CATALOG]


def names_of(site: SiteConfig) -> dict[str, list[str]]:
    """The names behind every placeholder, as provisioning would give them."""
    devices = list(site.devices())
    rooms = [f"room-{room.id}" for room in site.rooms]
    return {
        "room": [room.id for room in site.rooms],
        "ev": [ev.id for ev in site.evs],
        "load": [load.id for load in site.loads],
        "device": devices,
        "target": ["house", *rooms, *devices],
        "service": list(SERVICES),
        "quantity": ["pv", "load", "price", "thermal"],
        "kind": ["site", "safety"],
    }


def subjects_of(row: Row, names: dict[str, list[str]]) -> list[str]:
    """Every subject that the site gives an event."""
    if "{" not in row.entity:
        return [catalog.subject(SITE, row.type, row.entity)]
    prefix, placeholder = row.entity.rstrip("}").split("{")
    return [catalog.subject(SITE, row.type, f"{prefix}{name}") for name in names[placeholder]]


def matches(pattern: str, subject: str) -> bool:
    """NATS subject matching: ``*`` is one token, ``>`` the rest."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(given) > index
        if index >= len(given) or token not in ("*", given[index]):
            return False
    return len(wanted) == len(given)


def overlap(left: str, right: str) -> bool:
    """Whether some subject fits both patterns (neither holds ``>``)."""
    pairs = list(zip(left.split("."), right.split("."), strict=True))
    return all(a == b or "*" in (a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def names(site_yaml: Any) -> dict[str, list[str]]:
    return names_of(SiteConfig.model_validate(site_yaml))


def test_every_type_stands_once() -> None:
    assert [name for name, count in Counter(TYPES).items() if count > 1] == []
    assert set(catalog.BY_TYPE) == set(TYPES)


@pytest.mark.parametrize("row", CATALOG, ids=TYPES)
class TestEveryRow:
    def test_is_well_formed(self, row: Row) -> None:
        assert re.fullmatch(r"[a-z]+(\.[a-z-]+){1,2}", row.type)
        assert re.fullmatch(r"[a-z-]*(\{[a-z]+\})?", row.entity)
        assert row.entity
        assert row.version >= 1

    def test_is_said_by_somebody_and_nobody_twice(self, row: Row) -> None:
        assert row.by
        assert len(set(row.by)) == len(row.by)
        assert set(row.by) <= {*SERVICES, "twin", "client", "operator", "trainer"}

    def test_is_heard_by_services_only(self, row: Row) -> None:
        assert set(row.heard_by) <= set(SERVICES)
        assert len(set(row.heard_by)) == len(row.heard_by)

    def test_is_read_by_whoever_hears_it(self, row: Row) -> None:
        unread = set(row.heard_by) - BY_THE_CHASSIS.get(row.type, set()) - {
            service
            for service in row.heard_by
            for path in (ROOT / "services" / service).rglob("*.py")
            if re.search(rf"\b{row.model.__name__}\b", path.read_text())
        }  # fmt: skip
        assert unread == set(), f"{row.type} is delivered to services that make nothing of it"

    def test_refuses_unknown_fields_and_is_immutable(self, row: Row) -> None:
        assert issubclass(row.model, Record)
        assert row.model.model_config["extra"] == "forbid"
        assert row.model.model_config["frozen"] is True
        assert row.model.model_config["allow_inf_nan"] is False

    def test_is_described(self, row: Row) -> None:
        assert row.model.__doc__

    def test_age_leaves_room_for_two_periods(self, row: Row) -> None:
        if row.max_age_s is not None and row.period_s is not None:
            assert row.max_age_s > row.period_s, "one late event would be stale at once"

    def test_entity_can_be_read_from_the_body(self, row: Row) -> None:
        match = re.search(r"\{(\w+)\}", row.entity)
        if match and row.type not in WITHOUT_ENTITY:
            assert match[1] in row.model.model_fields


BY_THE_CHASSIS = {"system.config-loaded": set(SERVICES)}
"""What every service folds before its own code sees it."""

WITHOUT_ENTITY = {"override.cancel-requested"}
"""Its body names the override; the subject alone says the target."""


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_s_page_lists_what_it_hears_and_says(service: str) -> None:
    page = (ROOT / "services" / service / "README.md").read_text()
    for word, types in (("Hears", catalog.hears(service)), ("Says", catalog.says(service))):
        listed = ", ".join(f"`{name}`" for name in sorted(types))
        line = "everything" if types == set(TYPES) else listed
        assert f"**{word}** {line}.\n" in page


def test_periodic_input_of_decisions_has_an_age() -> None:
    """What comes regularly and is decided upon must be able to be stale."""
    without = [
        row.type
        for row in CATALOG
        if row.period_s is not None and row.heard_by and row.max_age_s is None
    ]
    assert without == []


@pytest.mark.parametrize("type_", ["command.approved", "command.rejected"])
def test_only_safety_gives_verdicts(type_: str, names: dict[str, list[str]]) -> None:
    assert catalog.BY_TYPE[type_].by == ("safety",)
    for subject in subjects_of(catalog.BY_TYPE[type_], names):
        allowed = [
            user
            for user in USERS
            if any(matches(p, subject) for p in catalog.publish_subjects(user, SITE))
        ]
        assert allowed == ["safety"]


def test_only_people_may_speak_without_an_envelope() -> None:
    bare = {row.type for row in CATALOG if row.bare}
    assert bare == {
        "override.requested",
        "override.cancel-requested",
        "safety.stop-requested",
        "safety.clear-requested",
    }
    assert all(catalog.BY_TYPE[type_].by == catalog.PEOPLE for type_ in bare)


def test_clients_may_only_request() -> None:
    assert all(type_.endswith("-requested") or type_.endswith(".requested")
               for type_ in catalog.says("client"))  # fmt: skip


def test_subjects_are_unique(names: dict[str, list[str]]) -> None:
    owners: dict[str, str] = {}
    for row in CATALOG:
        for subject in subjects_of(row, names):
            assert owners.setdefault(subject, row.type) == row.type
            assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+){4}", subject)


@pytest.mark.parametrize("service", SERVICES)
class TestConsumers:
    def test_filters_do_not_overlap(self, service: str, names: dict[str, list[str]]) -> None:
        filters = catalog.filter_subjects(service, SITE, names)
        assert filters
        for left, right in combinations(filters, 2):
            assert not overlap(left, right), f"{left} and {right}"

    def test_deliver_exactly_what_is_heard(self, service: str, names: dict[str, list[str]]) -> None:
        filters = catalog.filter_subjects(service, SITE, names)
        for row in CATALOG:
            for subject in subjects_of(row, names):
                delivered = sum(matches(pattern, subject) for pattern in filters)
                assert delivered == int(row.type in catalog.hears(service)), subject

    def test_stay_inside_the_site(self, service: str, names: dict[str, list[str]]) -> None:
        for pattern in catalog.filter_subjects(service, SITE, names):
            assert pattern.startswith(f"pems.{SITE}.")

    def test_are_the_same_every_time(self, service: str, names: dict[str, list[str]]) -> None:
        assert catalog.filter_subjects(service, SITE, names) == catalog.filter_subjects(
            service, SITE, {key: list(reversed(value)) for key, value in names.items()}
        )


def test_a_forgotten_kind_of_name_is_an_error(names: dict[str, list[str]]) -> None:
    """Otherwise a service would wait for ever for measurements that no filter delivers."""
    with pytest.raises(KeyError):
        catalog.filter_subjects("thermal", SITE, {k: v for k, v in names.items() if k != "room"})


def test_the_historian_hears_everything(names: dict[str, list[str]]) -> None:
    assert catalog.hears("historian") == set(TYPES)


@pytest.mark.parametrize("user", USERS)
class TestPermissions:
    def test_allow_all_that_the_user_says(self, user: str, names: dict[str, list[str]]) -> None:
        allowed = catalog.publish_subjects(user, SITE)
        for type_ in catalog.says(user):
            for subject in subjects_of(catalog.BY_TYPE[type_], names):
                if "{service}" in catalog.BY_TYPE[type_].entity and f".{user}." not in subject:
                    continue
                assert any(matches(pattern, subject) for pattern in allowed), subject

    def test_allow_nothing_that_only_others_say(
        self, user: str, names: dict[str, list[str]]
    ) -> None:
        """A wildcard for one kind of entity must not reach into another kind's subjects."""
        allowed = catalog.publish_subjects(user, SITE)
        widened = [
            subject
            for row in CATALOG
            if user not in row.by
            for subject in subjects_of(row, names)
            if any(matches(pattern, subject) for pattern in allowed)
        ]
        assert widened == []

    def test_allow_nobody_to_speak_in_the_name_of_another_service(
        self, user: str, names: dict[str, list[str]]
    ) -> None:
        """A forged heartbeat would hide the loss of a service from the safety gate."""
        allowed = catalog.publish_subjects(user, SITE)
        forged = [
            subject
            for row in CATALOG
            if row.entity == "{service}"
            for subject in subjects_of(row, names)
            if f".{user}." not in subject and any(matches(p, subject) for p in allowed)
        ]
        assert forged == []

    def test_hold_no_wildcard_over_families(self, user: str, names: dict[str, list[str]]) -> None:
        for pattern in catalog.publish_subjects(user, SITE):
            _, site, family, _, verb = pattern.split(".")
            assert site == SITE
            assert "*" not in family + verb
            assert ">" not in pattern


def test_subject_of_an_unknown_type_is_an_error() -> None:
    with pytest.raises(KeyError):
        catalog.subject(SITE, "price.guessed", "market")


@pytest.mark.parametrize("row", CATALOG, ids=TYPES)
def test_examples_stand_on_a_subject_that_their_speaker_may_use(row: Row) -> None:
    event = examples.event(row)
    allowed = catalog.publish_subjects(event.source, SITE)
    assert any(matches(pattern, event.subject) for pattern in allowed) or "{service}" in row.entity
