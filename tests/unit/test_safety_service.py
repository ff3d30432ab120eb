"""What the safety service takes for the base load: the house less what it reckons with apart."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chassis.signing import Signer, new_seed
from contracts.base import Record
from contracts.events.measurement import HouseSampled, LoadSampled
from contracts.site import SiteConfig
from services.safety.core.limits import BASE_LOAD, Limits
from services.safety.core.rules import draw_w
from services.safety.service import Safety, ServiceState
from tests.conftest import make_event

NOW = datetime(2026, 1, 12, 18, 0, tzinfo=UTC)
WASH = {
    "id": "wash", "earliest": "19:30", "deadline": "06:30",
    "segments": [{"minutes": 30, "power_w": 2_000.0}, {"minutes": 60, "power_w": 200.0}],
}  # fmt: skip
LIMITS = Limits.from_dict({
    "grid_import_limit_w": 16_500, "assumed_base_load_w": 3_000,
    "devices": [{"kind": "load", "device": "load-wash", "power_w": 2_000}],
})  # fmt: skip


@pytest.mark.parametrize(
    ("on", "power_w", "base_w", "drawing_w"),
    [
        (True, 1_900.0, 1_100, 2_000),  # metered: that much less, and all it may draw apart
        (True, None, 2_800, 2_000),  # not metered: the least of its programme is certain
        (False, None, 3_000, 0),
        (False, 5.0, 3_000, 0),
        (None, None, 3_000, 0),
    ],
)
def test_a_load_counts_with_all_it_may_draw_and_never_too_little(
    site: SiteConfig, on: bool | None, power_w: float | None, base_w: int, drawing_w: int
) -> None:
    with_wash = SiteConfig.model_validate({**site.model_dump(mode="json"), "loads": [WASH]})
    state = ServiceState(site=with_wash, limits=LIMITS)
    service = Safety(Signer(new_seed()))
    samples: list[tuple[str, Record]] = [
        ("measurement.load.sampled", LoadSampled(load="wash", time=NOW, on=on, power_w=power_w)),
        ("measurement.house.sampled", HouseSampled(
            time=NOW, pv_w=0.0, load_w=3_000.0, grid_w=3_000.0, battery_w=0.0, soc=0.5)),
    ]  # fmt: skip
    for type_, data in samples:
        service.fold(state, make_event(type_, "x", data, "gateway"))
    assert state.core.readings[BASE_LOAD].value == base_w
    assert draw_w(LIMITS.devices[0], state.core, LIMITS, int(NOW.timestamp())) == drawing_w
