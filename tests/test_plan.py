"""Plans as a whole: processes, clusters and kills give the same numbers; curves of shares."""
import importlib.util
import itertools
import logging
import os
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_plan import MadeUpPlan, N, recorded, synthetic_from

from emodiff.base.core import EmodiffError, error_message, runs_dir
from emodiff.base.settings import replace
from emodiff.base.workers import dask_client
from emodiff.recognition.arms import ARMS, VARIED, chosen_arms
from emodiff.recognition.audit import leak_audit, run_audited_plan
from emodiff.recognition.cells import (
    low_resource_cells,
    low_resource_rows,
    share_cells,
    within_cells,
)
from emodiff.recognition.claims import low_resource_curve, share_curve
from emodiff.recognition.plan import run_plan
from emodiff.recognition.pools import arm_synthesis, group_pools, pool_name, pool_sizes
from emodiff.recognition.statistics import summarise
from emodiff.speech.segments import Segments

CONTROLS = ["real + synthetic (CycleGAN) + noise", "duplicated real", "label-shuffled",
            "copy-synthesis"]
needs_dask = pytest.mark.skipif(not importlib.util.find_spec("distributed"),
                                reason="Dask is not installed, there is no cluster to run on")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory):
    "The made-up plan, its cells and their predictions, in a home of its own."
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMODIFF_HOME", str(tmp_path_factory.mktemp("first")))
        plan = MadeUpPlan()
        plan.cells = within_cells(plan.folds, plan.sizes, plan.settings.protocol, ARMS[:3])
        plan.first = run_plan(plan.cells, plan.pools, plan.settings)
        yield plan


def without_seconds(predictions: pd.DataFrame) -> pd.DataFrame:
    "Predictions without how long they took."
    return predictions.drop(columns="seconds")


def test_every_arm_passes_the_audit_and_a_copy_is_of_the_folds_training_clips(plan) -> None:
    more = within_cells(plan.folds, plan.sizes, plan.settings.protocol, chosen_arms(CONTROLS))
    assert leak_audit(plan.cells + more, plan.pools).empty
    for arm in ("duplicated real", "copy-synthesis"):
        for cell, fold in zip([c for c in more if c.arm == arm], plan.folds, strict=True):
            name = next(iter(set(cell.train) - {"real"}))
            assert sorted(cell.train[name]) == sorted(fold.train)
    for g in (0, 1):
        one, other = plan.pools[f"group {g}"].table, plan.pools[f"shuffled group {g}"].table
        assert sorted(one["emotion"]) == sorted(other["emotion"])
        assert (one["emotion"] == other["emotion"]).mean() < 0.5  # 0.25 in the mean


def test_the_controls_run(plan) -> None:
    fold = plan.folds[:1]
    cells = within_cells(fold, plan.sizes, plan.settings.protocol, chosen_arms(CONTROLS))
    found = run_audited_plan(cells, plan.pools, plan.settings)
    assert found["arm"].unique().tolist() == CONTROLS


def test_a_second_run_draws_from_the_cache(plan) -> None:
    again = run_plan(plan.cells, plan.pools, plan.settings)
    assert plan.first.equals(again)  # the seconds too: nothing was made anew
    assert len(again) == 3 * N // 2 and leak_audit(again).empty  # from what lies on disk


def test_the_recognisers_learn(plan) -> None:
    summary = summarise(plan.first, plan.settings.protocol)
    assert summary["uar"].min() > 60 and summary["segment_uar"].min() > 60  # chance is 25


def test_two_processes_give_the_numbers_of_one(plan, home: Path) -> None:
    two = replace(plan.settings, protocol=replace(plan.settings.protocol, jobs=2))
    few = run_plan(plan.cells[:4], plan.pools, two)
    assert without_seconds(few).equals(without_seconds(plan.first[: len(few)]))


def test_the_curve_of_shares_trains_only_what_is_not_on_it(plan) -> None:
    protocol = replace(plan.settings.protocol, shares=(0.5, 1.0))
    curve = share_cells(plan.folds, plan.sizes, protocol)
    assert {c.share for c in curve} == {0.5} and len(curve) == len(plan.folds)
    counts = [len(c.train[f"group {f.group}"]) for c, f in zip(curve, plan.folds, strict=True)]
    assert counts == [24] * 4
    points = share_curve(pd.concat([plan.first, run_plan(curve, plan.pools, plan.settings)]),
                         protocol)
    assert points["share"].to_list() == [0, 0.5, 1] and share_curve(plan.first, protocol).empty


def test_less_real_speech(plan) -> None:
    real, protocol = plan.real, plan.settings.protocol
    half, tenth = low_resource_rows(real.table, 0.5), low_resource_rows(real.table, 0.1)
    assert (tenth <= half).all() and half.sum() == N // 2
    assert low_resource_rows(real.table, 1).all() and real.table["speaker"][tenth].nunique() == 4
    few = {"real": real}
    for g, others in plan.outside.items():
        part = others.take(half[np.isin(real.table["utterance"], others.table["utterance"])])
        key = recorded("generator", f"few{g}", part.table)
        few[f"group {g} of 0.5"] = synthetic_from(part, key)
    sizes = {g: len(few[f"group {g} of 0.5"]) for g in (0, 1)}
    cells = low_resource_cells(real, plan.folds, 0.5, sizes, protocol, ARMS[:3])
    for cell, fold in itertools.product(cells, plan.folds):
        if cell.fold == fold.name:
            assert np.array_equal(cell.test["real"], fold.test) and cell.share == 0.5
            assert len(cell.train.get("real", [])) in (0, half[fold.train].sum())
    assert {len(c.train) for c in cells} == {1, 2} and leak_audit(cells, few).empty
    wrong = [replace(c, train={"group 1 of 0.5" if k == "group 0 of 0.5" else k: v[:8]
                               for k, v in c.train.items()}) for c in cells]
    assert set(leak_audit(wrong, few)["kind"]) == {"speaker"}
    ran = run_plan(cells, few, plan.settings)
    lines = low_resource_curve(pd.concat([plan.first, ran]), protocol)
    assert lines["fraction"].to_list() == [0.5] * 3 + [1.0] * 3 and lines["gain"].notna().sum() == 4
    assert low_resource_curve(plan.first, protocol).empty


def test_variations_by_real_generators(plan) -> None:
    "Each varies a clip that its generator was trained on; swapped generators are found."
    arms = chosen_arms(["synthetic (variations)", "real + synthetic (variations)"])
    made = arm_synthesis(plan.real, arms, plan.settings)
    assert list(made) == [VARIED]
    for one in made[VARIED].values():
        table = one.segments.table
        of = table[["speaker", "of", "emotion"]].rename(columns={"of": "utterance"})
        known = one.trained_on[["speaker", "utterance", "emotion"]].drop_duplicates()
        assert len(of.drop_duplicates().merge(known)) == len(of.drop_duplicates())
        assert table["generator"].eq(one.generator.key).all()
    pools = group_pools(plan.real, made, arms, plan.settings)
    cells = within_cells(plan.folds, pool_sizes(made, plan.settings.protocol),
                         plan.settings.protocol, arms)
    assert leak_audit(cells, pools).empty
    swapped = [replace(c, train={pool_name(VARIED, 1 - int(k[-1])) if k != "real" else k: v
                                 for k, v in c.train.items()}) for c in cells]
    found = leak_audit(swapped, pools)
    assert found["fold"].nunique() == len(plan.folds)  # every fold's test speaker was heard
    with pytest.raises(EmodiffError, match="leaks"):
        run_audited_plan(swapped, pools, plan.settings)
    assert run_audited_plan(cells, pools, plan.settings)["arm"].nunique() == 2


def kill_one(cluster, cells: int, done: list[int]) -> None:
    "Kill a worker when half of the cells are there; `done` counts them."
    def count() -> int:
        return sum(p.suffix == "" for p in (runs_dir() / "cell").glob("*"))

    while count() < cells // 2:
        time.sleep(0.02)
    done.append(count())
    worker = next(iter(cluster.workers.values()))
    worker.auto_restart = False  # the plan must live with what is left
    os.kill(worker.pid, 9)


@needs_dask
def test_a_plan_survives_the_death_of_a_dask_worker(plan, home: Path) -> None:
    from distributed import LocalCluster

    for name in ("distributed.nanny", "distributed.scheduler", "distributed.worker"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    (runs_dir() / "cell").mkdir(parents=True)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None,
                      silence_logs=logging.CRITICAL) as cluster:
        far = replace(plan.settings, protocol=replace(plan.settings.protocol,
                                                      cluster=cluster.scheduler_address))
        done: list[int] = []
        killer = threading.Thread(target=kill_one, args=(cluster, len(plan.cells), done))
        killer.start()
        there = run_plan(plan.cells, plan.pools, far)
        killer.join()
    assert len(plan.cells) // 2 <= done[0] < len(plan.cells)
    assert without_seconds(there).equals(without_seconds(plan.first))


@needs_dask
def test_a_scheduler_that_does_not_answer_is_one_sentence() -> None:
    def connect() -> None:
        with dask_client("tcp://127.0.0.1:9", patience=1):
            pass

    assert "no Dask scheduler answers" in error_message(connect)


def test_a_stored_pool_of_memory_is_the_pool(plan) -> None:
    from emodiff.recognition.pools import store_pool

    stored = store_pool(plan.real)
    back: Segments = stored.read()
    assert np.array_equal(back.mels, plan.real.mels) and len(back) == N
