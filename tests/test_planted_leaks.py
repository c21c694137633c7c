"""A leak is planted in each place in turn; the audit finds each there, and names it."""
import warnings

import numpy as np
import pandas as pd
import pytest
from made_up_plan import MadeUpPlan, N, recorded, synthetic_from

from emodiff.base.core import EmodiffError, atomic, runs_dir, write_json
from emodiff.base.settings import load_preset, replace
from emodiff.recognition import audit
from emodiff.recognition.arms import ARMS, chosen_arms
from emodiff.recognition.audit import leak_audit, run_audited_plan
from emodiff.recognition.cells import cross_cells, within_cells
from emodiff.recognition.classifier import made_up_segments
from emodiff.recognition.folds import loso_folds
from emodiff.recognition.plan import run_plan
from emodiff.speech.segments import Segments, concat, drop_repeats

# what is planted: where it is found, and as what
PLANTED = {
    "the speaker in training": ("training", "speaker"),
    "the speaker in validation": ("validation", "speaker"),
    "the speaker in the generator": ("generator everybody", "speaker"),
    "the speaker in a GAN": ("generator all of them", "speaker"),
    "the clip under another name and speaker": ("training", "content"),
    "the same in validation": ("validation", "content"),
    "the same in the generator": ("generator twins", "content"),
    "the clip three frames later, which only the generator heard": ("generator late", "content"),
    "a copy-synthesis of the clip": ("training", "speaker"),
    "the same for another speaker": ("training", "utterance"),
    "the same of its twin": ("training", "content"),
    "the clip with one bit changed": ("training", "content"),
    "the clip three frames later": ("training", "content"),
    "the speaker with her corpus in capitals": ("training", "speaker"),
    "the clip, varied": ("varied clips", "utterance"),
    "the speaker behind a filter": ("filter heard her", "speaker"),
    "a filter without records": ("filter lost, of which no record is left", "speaker"),
    "the speaker in an earlier training of the generator": ("generator further", "speaker"),
    "a prompt without a speaker": ("prompts without a speaker", "speaker"),
    "the speaker in a prompt": ("prompts", "speaker"),
    "a generator without records": ("generator lost, of which no record is left", "speaker"),
    "synthetic speech of nobody":
        ("generator without a name, of which no record is left", "speaker")}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory):
    "The made-up plan in a home of its own, and a test clip under other names."
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMODIFF_HOME", str(tmp_path_factory.mktemp("home")))
        plan = MadeUpPlan()
        plan.fold = plan.folds[0]
        plan.test = plan.real.take(plan.fold.test[:1])
        plan.twin = Segments(plan.test.mels, plan.test.table.assign(speaker="Z",
                                                                    utterance="some other name"))
        plan.leaky = planted(plan)
        yield plan


def planted(plan: MadeUpPlan) -> dict:
    "Leaky cells and their pools, by what was planted."
    fold, pools, real, test, twin = plan.fold, plan.pools, plan.real, plan.test, plan.twin
    cells = within_cells(plan.folds, plan.sizes, plan.settings.protocol, ARMS[:3])
    good = next(c for c in cells if c.arm == "real + synthetic" and c.fold == fold.name)
    group, others = f"group {fold.group}", plan.outside[fold.group]
    clean = pools[group].table

    def with_pool(name: str, segments: Segments, **more: Segments) -> tuple:
        "The cell, which also trains on another pool, and the pools."
        cell = replace(good, train={**good.train, name: np.arange(len(segments))})
        return cell, {**pools, name: segments, **more}

    def with_group(segments: Segments, **more: Segments) -> tuple:
        "The cell with another synthetic pool."
        return good, {**pools, group: segments, **more}

    copy = Segments((test.mels * 0.9).astype(np.float16),
                    test.table.assign(speaker="Z", copy_synthesis="a vocoder"))
    copy_of_twin = Segments(copy.mels, copy.table.assign(utterance="some other name"))
    bit = twin.mels.copy()
    bit.view(np.uint16)[0, 40, 5] ^= 1
    capitals = real.take(fold.test[:1]).table.assign(corpus="MADE UP", utterance="else")
    later = Segments(np.roll(twin.mels, 3, 2), twin.table.assign(frames=twin.table["frames"] + 3))
    own, other = pools[group], real.mels[others.table.index[:1]][:, ::-1].copy()
    recorded("filter", "heard her", real.table)
    further = recorded("generator", "further", others.table)
    write_json(runs_dir() / "generator" / further / "run.json",
               {"inputs": {"started_from": recorded("generator", "earlier", real.table)}})
    return {
        "the speaker in training":
            (replace(good, train={**good.train, "real": np.arange(N)}), pools),
        "the speaker in validation": (replace(good, validation={"real": fold.test[:3]}), pools),
        "the speaker in the generator":
            with_group(synthetic_from(others, recorded("generator", "everybody", real.table))),
        "the speaker in a GAN":
            with_pool("gan", synthetic_from(others, recorded("gan", "all of them", real.table))),
        "the clip under another name and speaker": with_pool("twin", twin),
        "the same in validation":
            (replace(good, validation={"twin": np.arange(1)}), {**pools, "twin": twin}),
        "the same in the generator": with_group(synthetic_from(
            others, recorded("generator", "twins", twin.table)), twin=twin),
        "the clip three frames later, which only the generator heard": with_group(
            synthetic_from(others, recorded("generator", "late", later.table, later))),
        "a copy-synthesis of the clip":
            with_pool("copies", pools["copy-synthesis"].take(fold.test)),
        "the same for another speaker": with_pool("copies", copy),
        "the same of its twin": with_pool("copies", copy_of_twin, twin=twin),
        "the clip with one bit changed": with_pool("bit", Segments(bit, twin.table)),
        "the clip three frames later":
            with_pool("late", Segments(np.roll(twin.mels, 3, 2), twin.table.assign(
                frames=np.minimum(256, twin.table["frames"] + 3)))),
        "the speaker with her corpus in capitals": with_pool("other", Segments(other, capitals)),
        "the clip, varied": with_group(Segments(own.mels, clean.assign(
            of=[*test.table["utterance"], *clean["speaker"][1:].map(lambda s: "")]))),
        "the speaker behind a filter": with_group(Segments(own.mels, clean.assign(
            filter="heard her"))),
        "a filter without records": with_group(Segments(own.mels, clean.assign(filter="lost"))),
        "the speaker in an earlier training of the generator":
            with_group(synthetic_from(others, further)),
        "a prompt without a speaker": with_group(Segments(own.mels, clean.assign(
            speaker=["", *clean["speaker"][1:]]))),
        "the speaker in a prompt": with_group(Segments(pools[group].mels, clean.assign(
            speaker=[fold.name, *clean["speaker"][1:]]))),
        "a generator without records": with_group(synthetic_from(others, "lost")),
        "synthetic speech of nobody": with_group(synthetic_from(others, ""))}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_leak_is_found_and_named(plan, name: str) -> None:
    cell, pools = plan.leaky[name]
    found = leak_audit([cell], pools)
    assert len(found) == 1, found
    where, kind, who = found.iloc[0][["where", "kind", "who"]]
    assert (where, kind) == PLANTED[name]
    wanted = plan.fold.name if kind == "speaker" else plan.test.table["utterance"].item()
    assert who.startswith(f"made up/{wanted}")
    with pytest.raises(EmodiffError, match="1 leak"):
        run_audited_plan([cell], pools, plan.settings)


def test_across_corpora_a_speaker_may_be_shared_but_no_utterance_and_no_clip(plan) -> None:
    real = plan.real
    target = Segments(made_up_segments(N, 5).mels, real.table.assign(corpus="another"))
    cross = cross_cells(real, target, N, plan.settings.protocol, ARMS[:1])[0]
    known = {"real": real, "target": target}
    assert leak_audit([cross], known).empty
    shared = replace(cross, validation={"target": cross.test["target"][:2]})
    assert leak_audit([shared], known)[["where", "kind"]].to_numpy().tolist() == [
        ["validation", "utterance"]]
    again = replace(cross, validation={"twin": np.arange(1)})
    tested = Segments(target.mels[cross.test["target"][:1]], plan.twin.table)
    assert leak_audit([again], {**known, "twin": tested})["kind"].to_list() == ["content"]


def test_a_corpus_with_a_clip_twice_is_freed_of_the_second(plan) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        freed = drop_repeats(concat([plan.real, plan.twin]))
    assert freed.table["utterance"].equals(plan.real.table["utterance"])
    assert "1 repeating others" in str(caught[0].message)
    assert drop_repeats(plan.real) is plan.real


def test_a_leaky_run_is_found_on_disk_and_changed_records_are_refused(plan) -> None:
    cell, known = plan.leaky["the clip under another name and speaker"]
    ran = run_plan([cell], known, plan.settings)
    by_key: pd.DataFrame = leak_audit([*ran["key"][:1]])
    assert leak_audit(ran)["kind"].to_list() == ["content"] == by_key["kind"].to_list()
    path = runs_dir() / "cell" / ran["key"][0] / "rows.npz"
    with atomic(path) as changed, changed.open("wb") as f:
        np.savez(f, **{"train|real": plan.fold.train, "test|real": plan.fold.test})
    with pytest.raises(EmodiffError, match="were changed after it ran"):
        leak_audit([ran["key"][0]])
    with pytest.raises(EmodiffError, match="cannot be read"):
        leak_audit(["no such run"])


def test_near_duplicates_are_found_on_disk_too(plan) -> None:
    "After a run without an audit, and only where the Mels are still there."
    names = ["the clip with one bit changed", "the clip three frames later"]
    cells = [plan.leaky[name][0] for name in names]
    ran = run_plan(cells, {k: v for name in names for k, v in plan.leaky[name][1].items()},
                   plan.settings)
    found = leak_audit(ran)
    assert found["kind"].to_list() == ["content"] * 2 and found["where"].eq("training").all()
    for path in runs_dir().glob("pool/*/mels.npy"):
        path.rename(path.with_suffix(".away"))
    assert leak_audit(ran).empty
    for path in runs_dir().glob("pool/*/mels.away"):
        path.rename(path.with_suffix(".npy"))


def test_an_audit_takes_less_than_a_tenth_of_what_it_guards(home) -> None:
    "600 segments of 12 speakers, 96 recognisers of 5 steps (open: 300), in memory and on disk."
    import time

    settings = load_preset("open", protocol={"seeds": 2, "resamples": 50, "jobs": 1,
                                             "fold_speakers": 1, "generators": 1})
    real = made_up_segments(600, speakers="ABCDEFGHIJKL")
    folds, pools = loso_folds(real.table, settings.protocol), {"real": real, "duplicated": real}
    for g in (0, 1):
        outside = real.take(np.concatenate([f.test for f in folds if f.group != g]))
        heard = recorded("generator", f"quick{g}", outside.table)
        pools[f"group {g}"] = synthetic_from(outside, heard)
    arms = chosen_arms(["real", "synthetic", "real + synthetic", "duplicated real"])
    cells = within_cells(folds, {0: 300, 1: 300}, settings.protocol, arms)
    start = time.process_time()
    assert leak_audit(cells, pools).empty
    audit, start = time.process_time() - start, time.process_time()
    quick = replace(settings, classifier=replace(settings.classifier, steps=5))
    ran = run_plan(cells[4:6], pools, quick)
    recogniser, start = (time.process_time() - start) / 2, time.process_time()
    assert leak_audit(ran).empty
    on_disk = time.process_time() - start
    share = (audit + on_disk) / (recogniser * len(cells))
    print(f"{len(cells)} recognisers: {recogniser * len(cells):.0f} s, audit {audit:.1f} s, "
          f"on disk {on_disk:.1f} s: {100 * share:.1f} %")
    assert share < 0.1


def test_real_corpora_have_no_near_duplicates_but_those_planted(shared, home) -> None:
    "And the check is quick beside what it guards: seconds for a corpus."
    from emodiff.recognition.similarity import near_duplicates
    from emodiff.speech.segments import prepare
    from emodiff.speech.standins import load_corpus

    settings = load_preset("open")
    rows = load_corpus("EmoDB", shared / "corpora", settings.standin)
    real = prepare(rows[::3], settings.features, jobs=1)
    assert near_duplicates(real) == []
    late = np.roll(real.mels[:2], 4, 2)  # the silence before speech is 4 frames longer
    later = real.table[:2].assign(frames=np.minimum(256, real.table["frames"][:2] + 4))
    again = concat([real, Segments(late, later)])
    assert near_duplicates(again) == [(0, len(real)), (1, len(real) + 1)]


def test_rows_that_cells_share_are_asked_once(plan, monkeypatch: pytest.MonkeyPatch) -> None:
    "Cells differ in their seed more often than in their rows; the leaks of all are told."
    cell, pools = plan.leaky["the speaker in training"]
    cells, asked = [replace(cell, seed=seed) for seed in range(5)], []
    original = audit._cell_leaks
    monkeypatch.setattr(audit, "_cell_leaks", lambda *a: asked.append(1) or original(*a))
    leaks = leak_audit(cells, pools)
    assert leaks["seed"].to_list() == list(range(5)) and len(asked) == 1
    named = replace(cell, arm="real + synthetic (leaky)", seed=7)
    leak_audit([*cells, named], pools)  # the name of an arm may allow what others may not
    assert len(asked) == 3
