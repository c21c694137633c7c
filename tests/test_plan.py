"""Plans as a whole: arms and controls, the cache, curves of shares, less speech, variations."""
import itertools

import numpy as np
import pandas as pd
import pytest
from made_up_plan import MadeUpPlan, N, recorded, synthetic_from

from emodiff.base.core import EmodiffError
from emodiff.base.settings import replace
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
from emodiff.recognition.statistics import estimate_gain, summarise
from emodiff.speech.segments import Segments

CONTROLS = ["real + synthetic (CycleGAN) + noise", "duplicated real", "label-shuffled",
            "copy-synthesis"]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory):
    "The made-up plan, its cells and their predictions, in a home of its own."
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMODIFF_HOME", str(tmp_path_factory.mktemp("first")))
        plan = MadeUpPlan()
        plan.cells = within_cells(plan.folds, plan.sizes, plan.settings.protocol, ARMS[:3])
        plan.first = run_plan(plan.cells, plan.pools, plan.settings)
        yield plan


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


def test_a_stored_pool_of_memory_is_the_pool(plan) -> None:
    from emodiff.recognition.pools import store_pool

    stored = store_pool(plan.real)
    back: Segments = stored.read()
    assert np.array_equal(back.mels, plan.real.mels) and len(back) == N


def test_seeds_take_the_generators_of_a_group_in_turn(plan) -> None:
    "And a gain knows how many there were; arms without a generator have none."
    protocol = replace(plan.settings.protocol, seeds=4, generators=2)
    cells = within_cells(plan.folds, plan.sizes, protocol, ARMS[:3:2])
    for cell in cells:
        group = next(f.group for f in plan.folds if f.name == cell.fold)
        made = sorted(set(cell.train) - {"real"})
        names = [f"group {group}", f"IDDPM (generator 1) group {group}"]
        assert made == ([] if cell.arm == "real" else [names[cell.seed % 2]])
        assert (cell.group, cell.generator) == (group, cell.seed % 2 if made else -1)
    more = {f"IDDPM (generator 1) group {g}": plan.pools[f"group {g}"] for g in (0, 1)}
    quick = replace(plan.settings, classifier=replace(plan.settings.classifier, steps=2))
    found = run_plan(cells, plan.pools | more, quick)
    gain = estimate_gain(found, "real + synthetic")
    assert gain.generators == 2 and gain.speakers == 4
    assert estimate_gain(found, "real", "real").generators == 0
