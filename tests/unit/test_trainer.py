"""What the trainer reads from the log: what is due, what a roll-back returns to, what a file is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from typer.testing import CliRunner

from chassis.models import FolderStore, ModelProblem, name_of, verified
from contracts.envelope import Event
from contracts.events.forecast import AccuracyScored, LeadScores
from contracts.events.measurement import RoomSampled
from contracts.events.system import ConfigLoaded, ModelChecked, ModelPromoted
from contracts.site import SiteConfig
from contracts.thermal_model import HouseModel, to_json
from pems import commands_models, promotion  # noqa: F401  # which registers its commands
from pems.cli import app
from pems.nightly import night_of
from pems.trainer import by_hand, due, read, roll_back, train_house
from services.forecast.core.bands import Bands, IntArray
from services.forecast.core.first_depth import Predict
from services.forecast.core.load import LoadPredictor
from services.forecast.core.place import Place
from services.forecast.core.predictor import Predictor
from services.forecast.core.registry import judge, pack
from services.forecast.core.series import Dataset, Series
from services.forecast.retrain import consider, refreshed
from services.thermal.core import content as thermal_content
from services.thermal.core import retrain as thermal
from services.thermal.core.adapt import Adaptation
from services.thermal.core.correction import Correction
from services.thermal.core.from_site import model_of
from services.thermal.core.history import History
from services.thermal.core.identify import Identification
from services.thermal.core.retrain import Verdict
from tests.conftest import make_event
from tests.unit.thermal.house import remembered, simulate, true_house

START = datetime(2026, 1, 12, tzinfo=UTC)
DAY_S = 86_400


def promoted(digest: str, method: str = "full") -> ModelPromoted:
    return ModelPromoted(quantity="load", content_hash=digest, method=method, trained_until=START)


def at(days: float, kind: str, data: object, source: str) -> Event:
    now = START + timedelta(days=days)
    return make_event(kind, "load", data, source, key=f"{kind}/{days}", time=now)  # type: ignore[arg-type]


def answered(days: float, digest: str, method: str = "full", good: bool = True) -> list[Event]:
    checked = ModelChecked(quantity="load", content_hash=digest, in_force=good)
    return [
        at(days, "system.model-promoted", promoted(digest, method), "trainer"),
        at(days, "system.model-checked", checked, "forecast"),
    ]


def scored(days: float, pinball: float, coverage: float = 0.8) -> Event:
    lead = LeadScores(n=192, rmse=1.0, mae=1.0, bias=0.0, pinball=pinball, coverage_80=coverage)
    now = START + timedelta(days=days)
    data = AccuracyScored(
        quantity="load", time=now, since=now, until=now, issues=4, by_lead={"0-6h": lead}
    )
    return at(days, "forecast.accuracy-scored", data, "forecast")


class TestDue:
    def test_a_first_model_is_due_until_one_is_in_force(self) -> None:
        assert due(read([]), "load")[0] == "full"
        assert due(read(answered(0, "a", good=False)), "load")[0] == "full"

    def test_light_by_night_full_by_week(self) -> None:
        log = answered(0, "a")
        assert due(read([*log, scored(0.5, 10.0)]), "load")[0] == "none"
        assert due(read([*log, scored(1.2, 10.0)]), "load")[0] == "light"
        log += answered(6.9, "b", "LoadPredictor, refreshed")
        assert due(read([*log, scored(7.1, 10.0)]), "load")[0] == "full"

    def test_scores_that_went_astray_ask_for_a_full_training(self) -> None:
        log = [*answered(0, "a"), scored(1.1, 10.0)]
        found = due(read([*log, scored(2.1, 13.0)]), "load")
        assert found == ("full", "pinball 13 is above 1.25 x the usual 10")
        assert due(read([*log, scored(2.1, 10.0, coverage=0.5)]), "load")[0] == "full"


class TestRollBack:
    def test_returns_to_the_model_before_and_further(self) -> None:
        log = [*answered(0, "a"), *answered(1, "b"), *answered(2, "bad", good=False), *answered(3, "c")]
        first = roll_back(log, "load")
        assert first.content_hash == "b"
        assert "rolled back from c" in first.reason
        assert roll_back([*log, *answered(4, "b")], "load").content_hash == "a"

    def test_says_when_there_is_none(self) -> None:
        with pytest.raises(ValueError, match="no earlier model"):
            roll_back(answered(0, "a"), "load")


def test_a_file_is_what_it_says(site: SiteConfig) -> None:
    content = (to_json(model_of(site)) + "\n").encode()
    found, stored = by_hand("thermal", content)
    assert found.content_hash == name_of(stored)
    with pytest.raises(ValueError, match="not a packed"):
        by_hand("load", content)


def test_a_damaged_or_missing_content_is_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    store = FolderStore(tmp_path)
    store["a" * 64] = b"other"
    with pytest.raises(ModelProblem, match="damaged"):
        verified(store, "a" * 64)
    with pytest.raises(ModelProblem, match="not in the store"):
        verified(store, "b" * 64)
    promotion.save(tmp_path / "out", [(promoted(name_of(b"x")), b"x")])
    assert promotion.load(tmp_path / "out") == [(promoted(name_of(b"x")), b"x")]
    with pytest.raises(FileNotFoundError, match="no models"):
        promotion.load(tmp_path / "none")


def test_too_short_a_log_leaves_everything_as_it_is(site: SiteConfig) -> None:
    loaded = ConfigLoaded(kind="site", content_hash=site.content_hash(), site=site)
    log = [make_event("system.config-loaded", "site", loaded, "operator")]
    outcomes = train_house(read(log), {})
    assert [o.kind for o in outcomes] == ["thermal", "pv", "load", "price"]
    assert all(o.promoted is None and "left as it is" in o.sentence for o in outcomes)


def load(days: int, level: float = 1.0) -> Dataset:
    start = int(START.timestamp()) - 40 * DAY_S
    hour = np.arange(days * 24) % 24
    rng = np.random.default_rng(4)
    values = level * (300 + 250 * (hour > 16)) * rng.gamma(8.0, 1 / 8.0, len(hour))
    return Dataset(Series(start, 3_600, values))


class TestConsider:
    place = Place(time_zone="Europe/Prague", country="CZ")

    def test_without_a_learnt_model_the_untrained_method_is_the_rival(self) -> None:
        verdict = consider("load", load(30), self.place, None)
        assert "of the untrained method" in verdict.reason
        assert verdict.better == (verdict.candidate_loss < verdict.incumbent_loss)
        assert "25 issues" in verdict.reason  # four a day while 24 h are left

    def test_pv_learns_from_four_issues_a_day_as_the_house_issues(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        taught = {}
        train = Predictor.train

        def noted(model: Predictor, data: Dataset, phase_s: int) -> object:
            taught[model.kind] = model.issues_per_day
            return train(model, data, phase_s)

        monkeypatch.setattr(Predictor, "train", noted)
        for kind in ("pv", "load"):
            consider(kind, load(16), self.place, None)
        assert taught == {"pv": 4, "load": 1}

    def test_a_worse_model_in_use_is_replaced_and_a_better_one_stays(self) -> None:
        data = load(30)
        model = LoadPredictor(self.place, parameters={"rounds": 30})
        model.train(data.before(data.series.start_s + 15 * DAY_S), 0)
        good = pack(model)
        assert model.combination is not None
        model.combination.stretch *= 8.0
        worse = consider("load", data, self.place, model)
        assert worse.better
        assert "of the model in use" in worse.reason
        again = refreshed(model, data, self.place, data.series.end_s - 5 * DAY_S)
        assert again.combination is not None
        assert (again.combination.stretch < model.combination.stretch).any()
        assert pack(again) != good

    def test_a_light_training_needs_a_model(self) -> None:
        with pytest.raises(ValueError, match="train fully first"):
            consider("load", load(30), self.place, None, full=False)


@pytest.mark.parametrize("silent", ["candidate", "rival", "both"])
def test_where_a_model_has_no_forecast_both_count_alike(silent: str) -> None:
    """The series is zero by day: a missing forecast taken for zero would be the best there is."""
    step, days = 3_600, 8
    values = np.where(np.arange(24 * days) % 24 < 12, 0.0, 100.0)
    data = Dataset(Series(0, step, values), {})

    def answer(level: float, gaps: bool) -> Predict:
        def predict(data: Dataset, issue_s: int, target_s: IntArray) -> Bands:
            value = np.full(len(target_s), level)
            if gaps:
                value[target_s // step % 24 < 12] = np.nan
            return Bands(value, value, value)

        return predict

    class Known:
        metadata = SimpleNamespace(trained_to="1970-01-03T00:00:00Z")
        predict = staticmethod(answer(60.0, silent != "rival"))

    issues = np.arange(3, days - 1, dtype=np.int64) * DAY_S
    ours, theirs = judge(cast("Predictor", Known), answer(50.0, silent != "candidate"), data, issues)
    by_day, by_night = {"candidate": 50.0, "rival": 60.0, "both": np.nan}[silent], (40.0, 50.0)
    expected = [np.nanmean([by_day, night]) / 2 for night in by_night]
    assert [ours, theirs] == pytest.approx(expected)


def test_a_night_begins_at_three_by_the_wall_clock_on_odd_days_too() -> None:
    zone = ZoneInfo("Europe/Prague")
    for day in (datetime(2026, 3, 29), datetime(2026, 10, 25), datetime(2026, 1, 14)):
        start = day.replace(tzinfo=zone).astimezone(UTC)
        nights = [night_of(start + timedelta(minutes=10 * k), zone) for k in range(6 * 22)]
        changes = [k for k in range(1, len(nights)) if nights[k] != nights[k - 1]]
        assert len(changes) == 1
        assert (start + timedelta(minutes=10 * changes[0])).astimezone(zone).hour == 3


def blind_house() -> HouseModel:
    """The true house, thought to lose three times the heat."""
    house = true_house()
    rooms = tuple(
        r.model_copy(update={"air_outside_w_per_k": 3.0 * r.air_outside_w_per_k}) for r in house.rooms
    )
    return house.model_copy(update={"rooms": rooms})


@pytest.mark.parametrize(("candidate", "incumbent", "better"), [
    (true_house(), blind_house(), True), (blind_house(), true_house(), False),
    (true_house(), true_house(), False),
])  # fmt: skip
def test_a_house_model_takes_over_only_when_it_predicts_the_last_days_better(
    candidate: HouseModel, incumbent: HouseModel, better: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judge of physics alone: identification and the correction have tests of their own."""
    found = Identification(candidate, (), {}, 900, 0, np.ones((0, 3), dtype=bool))
    monkeypatch.setattr(thermal, "_with_correction", lambda *given: (np.inf, b""))
    monkeypatch.setattr(thermal, "identify", lambda *given, **named: found)
    history = simulate(true_house(), days=9)
    verdict = thermal.consider(history, remembered(history), incumbent, incumbent)
    assert verdict.better == better
    assert (verdict.candidate_mae_k < verdict.incumbent_mae_k) == better


@pytest.fixture(scope="module")
def lived_in() -> History:
    """Fifteen days of people whose cooking no model knows."""
    busy = tuple(600.0 if 18 <= hour < 22 else 60.0 for hour in range(24))
    rooms = tuple(r.model_copy(update={"internal_gain_w": busy}) for r in true_house(2).rooms)
    return simulate(true_house(2).model_copy(update={"rooms": rooms}), days=15, seed=4)


def judged(
    history: History, model: HouseModel, learnt: Correction | None, monkeypatch: pytest.MonkeyPatch
) -> Verdict:
    """A light training whose adaptation finds nothing: the correction alone is at stake."""
    unchanged = Adaptation(model, False, 1.0, 1.0, ())
    monkeypatch.setattr(thermal, "adapt", lambda *given, **named: unchanged)
    return thermal.consider(history, remembered(history), model, model, learnt, full=False)


def test_a_correction_that_pays_is_promoted_with_its_model(
    lived_in: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = judged(lived_in, true_house(2), None, monkeypatch)
    model, correction = thermal_content.unpack(verdict.content)
    assert verdict.better and model == true_house(2) and correction is not None
    assert verdict.candidate_mae_k < 0.9 * verdict.incumbent_mae_k
    # the same once more, now in force: nothing is gained
    again = judged(lived_in, model, correction, monkeypatch)
    assert not again.better
    assert again.incumbent_mae_k == verdict.candidate_mae_k


def test_a_correction_that_does_not_pay_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evenings used to be warmer than the model knows, until the days on which it is judged."""
    history = simulate(true_house(2), days=15, seed=4)
    evening = (history.epoch_s % DAY_S > 0.7 * DAY_S) & (np.arange(len(history.epoch_s)) < 12 * 96)
    before = replace(history, temperature_c=history.temperature_c + 0.8 * evening[:, None])
    verdict = judged(before, true_house(2), None, monkeypatch)
    assert verdict.content == thermal_content.pack(true_house(2)) and not verdict.better
    assert "its correction left out" in verdict.reason


@pytest.mark.parametrize("depth", ["full", "light"])
def test_only_a_full_training_of_the_rooms_puts_off_the_next(
    depth: str, site: SiteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = ConfigLoaded(kind="site", content_hash=site.content_hash(), site=site)
    past = read([make_event("system.config-loaded", "site", loaded, "operator")])
    past.in_force["thermal"] = "a"
    past.rooms.take(RoomSampled(room="living", time=START, temperature_c=20.0, relay_on=False))
    found = Verdict(model_of(site), b"content", True, 0.2, 0.3, (), "better")
    monkeypatch.setattr(thermal, "consider", lambda *given, **named: found)
    promotion_made = train_house(past, {}, ["thermal"], depth)[0].promoted
    assert promotion_made is not None
    past.take(make_event("system.model-promoted", "thermal", promotion_made, "trainer", time=START))
    assert (past.schedules["thermal"].full_s > 0) == (depth == "full")


def test_prices_are_judged_without_those_that_were_published_later() -> None:
    """The untrained method repeats what is published: given the future it would be exact."""
    start = int(START.timestamp()) - 40 * DAY_S
    values = np.random.default_rng(2).normal(80.0, 30.0, 30 * 24)
    verdict = consider("price", Dataset(Series(start, 3_600, values)), TestConsider.place, None)
    assert verdict.incumbent_loss > 3.0


def test_model_files_become_the_folder_that_a_house_to_come_starts_with(
    tmp_path: Path, site: SiteConfig
) -> None:
    file, folder = tmp_path / "rooms.model", tmp_path / "models"
    file.write_text(to_json(model_of(site)) + "\n")
    command = ["model", "promote", "thermal", str(file), "--out", str(folder)]
    result = CliRunner().invoke(app, [*command, "--root", str(tmp_path / "no-house")])
    assert result.exit_code == 0, result.output
    [(found, content)] = promotion.load(folder)
    assert (found.quantity, found.content_hash) == ("thermal", name_of(content))
    assert thermal_content.unpack(content)[0] == model_of(site)
    file.write_text("{}")
    assert CliRunner().invoke(app, command).exit_code == 1
