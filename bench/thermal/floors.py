"""What the Belgian recording holds at most: `python -m bench.thermal floors`.

No forecast: trees (XGBoost, absolute error) see the features of both regressions of the correction and the
date, and are taught all of the recording, before and AFTER the tested blocks of three days, but a tenth of the
blocks and what overlaps with these.
"""

from __future__ import annotations

import numpy as np
from xgboost import XGBRegressor

from services.thermal.core.correction import change_c, first_origin, look_back
from services.thermal.core.drive import drive_of
from services.thermal.core.features import Cases, direct_features, issue_rows, physics_features
from services.thermal.core.hindcast import run_filter
from services.thermal.evaluate import Evaluation

EVERY_S, BLOCK_DAYS, FOLDS, SEED = 3 * 3600, 3, 10, 0


def floor_k(done: Evaluation, first_epoch_s: int, last_epoch_s: int, lead_s: int) -> float:
    """Mean absolute error in K over rooms of trees taught around each tested block of the stretch."""
    history, step = done.history, done.history.step_s
    lead, day = round(lead_s / step), round(86400 / step)
    origins = np.arange(first_origin(step), len(history.epoch_s) - lead, round(EVERY_S / step))
    drive = drive_of(done.model, history)
    rows = issue_rows(step, origins, lead_s)
    rows = rows[rows > 0]
    means = run_filter(done.model, history, drive, 0, rows).means
    cases = Cases(look_back(done.model, history, drive, rows, means, (lead,)), origins, lead)
    at = history.epoch_s[origins]
    tested = (at >= first_epoch_s) & (at < last_epoch_s)
    block = origins // (BLOCK_DAYS * day)
    fold = np.random.default_rng(SEED).integers(0, FOLDS, block.max() + 1)[block]
    errors = []
    for i in range(len(done.model.rooms)):
        truth = change_c(cases.view, origins, lead, i)
        features = np.column_stack(
            [physics_features(cases, i), direct_features(cases, i), origins / day]
        )
        said = np.full(len(truth), np.nan)
        for number in range(FOLDS):
            asked = tested & (fold == number)
            if not asked.any():
                continue
            apart = np.ones(len(origins), dtype=bool)
            for one in np.unique(block[asked]):
                inside = origins[block == one]
                apart &= (origins <= inside[0] - lead) | (origins >= inside[-1] + lead)
            trees = XGBRegressor(
                n_estimators=300, max_depth=4, learning_rate=0.05, subsample=0.7,
                colsample_bytree=0.4, n_jobs=1, random_state=SEED, objective="reg:absoluteerror",
            )  # fmt: skip
            taught = apart & (fold != number) & np.isfinite(truth)
            trees.fit(features[taught], truth[taught])
            said[asked] = trees.predict(features[asked])
        errors.append(np.nanmean(np.abs(said - truth)))
    return float(np.mean(errors))
