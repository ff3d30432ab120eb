import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.site import Battery, Ev, SiteConfig
from twin.battery import BMS_EMPTY, BMS_FULL, STANDBY_W, BatteryPack, self_use_w
from twin.ev import GUARD_PAUSE_S, RESUME_DELAY_S, Wallbox
from twin.scenario import EvSession

SPEC = Battery(capacity_wh=12_800, charge_max_w=6_000, discharge_max_w=6_000)


@given(soc=st.floats(0.0, 1.0), command=st.floats(-9_000, 9_000))
def test_cells_never_leave_the_bms_window_by_command(soc: float, command: float) -> None:
    pack = BatteryPack(SPEC, soc)
    discharge, charge = pack.limits_w(60)
    assert 0 <= discharge <= SPEC.discharge_max_w
    assert 0 <= charge <= SPEC.charge_max_w
    flow = pack.flow(min(max(command, -discharge), charge))
    assert flow.stored_w == pytest.approx(flow.ac_w - flow.lost_w)
    assert flow.lost_w >= STANDBY_W
    pack.apply(flow, 60)
    assert pack.soc <= max(soc, BMS_FULL) + 1e-9
    assert pack.soc >= min(soc, BMS_EMPTY) - STANDBY_W / 60 / SPEC.capacity_wh - 1e-9


@given(soc=st.floats(0.0, 1.0), surplus=st.floats(-15_000, 15_000))
def test_self_use_stays_in_the_site_band_and_never_overshoots(soc: float, surplus: float) -> None:
    pack = BatteryPack(SPEC, soc)
    power = self_use_w(pack, surplus, 60, SPEC.soc_min, SPEC.soc_max)
    assert abs(power) <= abs(surplus)
    assert power * surplus >= 0
    if soc >= SPEC.soc_max:
        assert power <= 0
    if soc <= SPEC.soc_min:
        assert power >= 0
    pack.apply(pack.flow(power), 60)
    assert min(soc, SPEC.soc_min) - 1e-4 <= pack.soc <= max(soc, SPEC.soc_max) + 1e-9


def test_round_trip_loss_is_near_the_data_sheet_and_grows_with_power() -> None:
    def round_trip(power: float) -> float:
        pack = BatteryPack(SPEC, 0.3)
        start, put, got = pack.energy_wh, 0.0, 0.0
        for _ in range(int(30 * 6000 / power)):
            flow = pack.flow(power)
            pack.apply(flow, 60)
            put += flow.ac_w / 60
        while pack.energy_wh > start:
            flow = pack.flow(-power)
            pack.apply(flow, 60)
            got -= flow.ac_w / 60
        return got / put

    sheet = SPEC.charge_efficiency * SPEC.discharge_efficiency
    assert round_trip(3_000) == pytest.approx(sheet, abs=0.03)
    assert round_trip(6_000) < round_trip(3_000)
    assert round_trip(150) < 0.85  # standby dominates


def test_taper_near_full_and_empty() -> None:
    middle = BatteryPack(SPEC, 0.5).limits_w(60)
    assert middle == (6_000, 6_000)
    assert BatteryPack(SPEC, 0.97).limits_w(60)[1] < 3_000
    assert BatteryPack(SPEC, 0.04).limits_w(60)[0] < 3_000
    assert BatteryPack(SPEC, 1.0).limits_w(60)[1] == 0
    assert BatteryPack(SPEC, 0.0).limits_w(60)[0] == 0


CAR = Ev(id="car", capacity_wh=60_000)
SESSION = EvSession("car", 1_000, 50_000, 10_000.0)


def _charge(box: Wallbox, current: float | None, start: int, minutes: int) -> list[float]:
    powers = []
    for k in range(minutes):
        power = box.wanted_w(start + 60 * k, 60, current)
        box.apply(power, 60)
        powers.append(power)
    return powers


def test_car_draws_after_the_delay_and_stops_at_its_target() -> None:
    box = Wallbox(CAR, (SESSION,))
    box.arrive(1_000)
    powers = _charge(box, None, 1_000, 120)
    assert powers[0] == 0
    assert powers[-(-RESUME_DELAY_S // 60)] == pytest.approx(CAR.max_w)
    assert powers[-1] == 0
    assert sum(powers) / 60 == pytest.approx(10_000, abs=0.1)
    tail = [power for power in powers if power > 0][-1]
    assert tail < 0.6 * CAR.max_w  # taper


def test_below_six_ampere_pauses_and_steps_are_a_tenth() -> None:
    box = Wallbox(CAR, (SESSION,))
    box.arrive(1_000)
    assert max(_charge(box, 5.9, 1_000, 5)) == 0
    assert box.offered_a == 0
    powers = _charge(box, 7.77, 2_000, 5)
    assert powers[-1] == pytest.approx(7.7 * 690)
    assert _charge(box, 40.0, 3_000, 2)[-1] == pytest.approx(CAR.max_w)


def test_guard_reduces_then_pauses_for_a_while() -> None:
    box = Wallbox(CAR, (SESSION,))
    box.arrive(1_000)
    _charge(box, None, 1_000, 3)
    assert box.guard(CAR.max_w, 1_000.0, 1_200) == pytest.approx(14.5 * 690)
    assert box.guard(CAR.max_w, 9_000.0, 1_260) == 0
    assert box.wanted_w(1_260 + GUARD_PAUSE_S - 60, 60, None) == 0
    assert _charge(box, None, 1_260 + GUARD_PAUSE_S, 3)[-1] > 0


def test_new_session_starts_at_zero_and_unplugged_draws_nothing() -> None:
    box = Wallbox(CAR, (SESSION, EvSession("car", 60_000, 70_000, 500.0)))
    box.arrive(1_000)
    _charge(box, None, 1_000, 30)
    box.arrive(50_000)
    assert _charge(box, 16.0, 50_000, 2) == [0, 0]
    box.arrive(60_000)
    assert box.state.session_energy_wh == 0
    assert box.next_change_s(60_000) == 70_000


def test_site_car_is_known(site: SiteConfig) -> None:
    assert site.evs[0].max_w == pytest.approx(11_040)
