"""Leaky arms, and tables made again from predictions: what was changed is found and named."""
import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from emodiff.app.cli import app
from emodiff.base.chapter import Chapter
from emodiff.base.core import EmodiffError
from emodiff.base.settings import EMOTIONS, load_preset, replace
from emodiff.pages.pool import _check_alike, pool, read_corpora
from emodiff.pages.recheck import recheck
from emodiff.pages.result_tables import CONTROLS, LEAKS, RESULT_TABLES
from emodiff.pages.results import _QUESTIONS, results_md
from emodiff.recognition.arms import LEAK_NOTE, chosen_arms
from emodiff.recognition.audit import run_audited_plan
from emodiff.recognition.cells import within_cells
from emodiff.recognition.classifier import made_up_segments
from emodiff.recognition.evidence import (
    PREDICTIONS,
    _read_arrays,
    _write_arrays,
    read_evidence,
    save_evidence,
)
from emodiff.recognition.experiments import Experiment, cross_corpus, within_corpus
from emodiff.recognition.folds import loso_folds
from emodiff.recognition.pooled import POOLED, pooled_claims
from emodiff.recognition.pools import arm_synthesis, group_pools, pool_sizes
from emodiff.speech.segments import Segments

ROOT = Path(__file__).resolve().parent.parent
ARMS = ("real", "synthetic", "real + synthetic", "leaky")
SETTINGS = load_preset("smoke", training={"steps": 2}, classifier={"steps": 2}, protocol={
    "arms": ARMS, "cross_arms": ("real", "synthetic", "leaky"), "adaptation": (0.0,)})


def corpus(name: str, seed: int) -> Segments:
    "A made-up corpus."
    made = made_up_segments(32, seed)
    return Segments(made.mels, made.table.assign(corpus=name))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    "A folder of results as chapters 04 and 05 leave it, with RESULTS.md."
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMODIFF_HOME", str(tmp_path_factory.mktemp("home")))
        out = tmp_path_factory.mktemp("figures") / "smoke"
        chapter = Chapter(SETTINGS, None, out, "cpu", "A", "B")
        real = corpus("A", 0)
        for found in (within_corpus(real, SETTINGS),
                      cross_corpus(real, corpus("B", 1), [corpus("C", 2)], SETTINGS)):
            evidence = save_evidence(chapter, found)
            for make in RESULT_TABLES[evidence.kind]:
                make(evidence, out)
        results_md(out)
        yield out


def test_all_is_made_again_byte_for_byte(folder: Path) -> None:
    found = recheck(folder)
    assert not found.faults and not found.taken
    assert {"table2_within_corpus.md", "table2_leak_claims.csv", "table3_claims.csv",
            "RESULTS.md"} <= set(found.made)


@pytest.mark.parametrize("judge", ["cnn", "linear"])
def test_one_flipped_bit_of_a_posterior_is_found(folder: Path, tmp_path: Path, judge: str) -> None:
    copy = shutil.copytree(folder, tmp_path / folder.name)
    with np.load(copy / "predictions.npz") as whole:
        arrays = dict(whole)
    arrays[f"within.{judge}.posteriors"].view(np.uint16)[7, 1] ^= 1
    np.savez(copy / "predictions.npz", **arrays)
    faults = recheck(copy).faults
    assert any(f.startswith("table2_runs.md, line 1 (") for f in faults)  # the digest of them all
    named = [f for f in faults if f.startswith("table2_runs.csv, line ")]
    assert bool(named) == (judge == "cnn") and all("(within,synthetic,A,0,0," in f for f in named)
    done = CliRunner().invoke(app, ["recheck", str(copy)])
    assert isinstance(done.exception, EmodiffError) and "table2_runs" in done.stdout


def test_a_changed_table_is_found_and_named(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / folder.name)
    path = copy / "table3_claims.csv"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    verdicts = re.compile(",(undecided|not compared),")
    number = next(i for i, line in enumerate(lines) if verdicts.search(line))
    lines[number] = verdicts.sub(",supported,", lines[number])
    path.write_text("".join(lines), "utf-8")
    named = f"table3_claims.csv, line {number + 1} ("
    assert [f for f in recheck(copy).faults if f.startswith(named)]
    (copy / "table3_claims.csv").unlink()
    assert "table3_claims.csv is missing" in recheck(copy).faults
    (copy / "predictions.npz").unlink()
    assert recheck(copy).faults == ("predictions.npz is missing, and RESULTS.md names it",)


def test_every_table_with_a_leaky_arm_says_so(folder: Path) -> None:
    named = {p.name for p in folder.glob("*.md") if "(leaky)" in p.read_text("utf-8")}
    assert {"table2_runs.md", "table2_folds.md", "table2_leak.md", "table2_leak_claims.md"} <= named
    assert all(LEAK_NOTE in (folder / name).read_text("utf-8") for name in named)
    shown = (folder / "table2_within_corpus.md").read_text("utf-8")
    assert "IDDPM, leaky" in shown and LEAK_NOTE in shown
    assert "leaky" not in (folder / "table3_cross_corpus.md").read_text("utf-8")


def test_leaky_speech_under_another_name_is_refused(folder: Path) -> None:
    real, arms = corpus("A", 0), chosen_arms(["leaky"])
    made = arm_synthesis(real, arms, SETTINGS)
    cells = within_cells(loso_folds(real.table, SETTINGS.protocol),
                         pool_sizes(made, SETTINGS.protocol), SETTINGS.protocol, arms)
    pools = group_pools(real, made, arms, SETTINGS)
    with pytest.raises(EmodiffError, match="found .* leaks"):
        run_audited_plan([replace(cells[0], arm="synthetic")], pools, SETTINGS)
    assert len(run_audited_plan(cells[:1], pools, SETTINGS))


def test_every_answer_in_short_is_to_a_claim_that_is_made(folder: Path) -> None:
    tables = [*folder.glob("*_claims.csv"), ROOT / "figures" / "demo" / "table1_claims.csv"]
    made = {claim for table in tables for claim in pd.read_csv(table)["claim"]} | {*POOLED}
    made |= {question for question, *_ in CONTROLS} | {question for _, question in LEAKS}
    assert made >= {*_QUESTIONS}


@pytest.mark.parametrize("name", ["demo", "open", "open-EmoDB", "open-GAN", "open-LOSO",
                                  "open-URDU", "open-less", "open-to-URDU"])
def test_the_tables_of_the_repository_come_from_their_predictions(name: str) -> None:
    if not (ROOT / "figures" / name).is_dir():
        pytest.skip(f"there is no folder figures/{name}")
    found = recheck(ROOT / "figures" / name)
    assert not found.faults
    if found.skipped:
        pytest.skip(found.skipped)


def made_up_results(out: Path, name: str) -> Path:
    "A folder with the predictions of a made-up corpus: no network, no speech."
    at, k = np.arange(64), len(EMOTIONS)
    people, emotion = np.char.add("s", (at // k % 8).astype(str)), np.array(EMOTIONS)[at % k]
    runs = [pd.DataFrame({
        "experiment": "within", "arm": arm, "fold": people, "share": 0.0, "seed": seed,
        "group": 0, "generator": 0, "corpus": name, "speaker": people, "segments": 1,
        "utterance": at.astype(str), "emotion": emotion, "segments_found": 1,
        **{f"p_{e}": ((at + (at % wrong == 0)) % k == i) * 1.0 for i, e in enumerate(EMOTIONS)}})
        for arm, wrong in (("real", 3), ("real + synthetic", 5)) for seed in (0, 1)]
    arms = chosen_arms(["real", "real + synthetic"])
    chapter = Chapter(load_preset("smoke"), None, out, "cpu", name)
    evidence = save_evidence(chapter, Experiment(arms, (None,), {}, pd.concat(runs), {}))
    for make in RESULT_TABLES["within"]:
        make(evidence, out)
    return out


@pytest.mark.parametrize("names", ["ABC", "123"])  # a name may look like a number
def test_a_changed_pooled_table_is_found(tmp_path: Path, names: str) -> None:
    folders = [made_up_results(tmp_path / name, name) for name in names]
    done = CliRunner().invoke(app, ["pool", *map(str, folders)])
    assert done.exit_code == 0, done.output
    assert not recheck(folders[0]).faults
    table = folders[0] / "pooled.csv"
    rows = table.read_text("utf-8").splitlines()
    rows[1] = rows[1].replace("0", "1", 1)
    table.write_text("\n".join(rows) + "\n", "utf-8")
    assert any("pooled.csv" in str(fault) for fault in recheck(folders[0]).faults)


def test_a_pooled_table_whose_folders_are_gone_is_a_fault(tmp_path: Path) -> None:
    folders = [made_up_results(tmp_path / name, name) for name in "AB"]
    pool(folders)
    shutil.rmtree(folders[1])
    assert any("cannot be made again" in fault for fault in recheck(folders[0]).faults)


def test_what_is_unlike_is_not_pooled(tmp_path: Path) -> None:
    folders = [made_up_results(tmp_path / name, name) for name in "AB"]
    one = read_corpora(folders)
    for changed, why in (({"standin": False}, "speech"), ({"preset": "open"}, "preset"),
                         ({"share": 0.5}, "share")):
        with pytest.raises(EmodiffError, match=f"not alike in {why}"):
            _check_alike({"A": one["A"], "B": dataclasses.replace(one["B"], **changed)})
    few = one["B"].predictions.query("speaker < 's3'")
    with pytest.raises(EmodiffError, match="B has 3 test speakers"):
        _check_alike({"A": one["A"], "B": dataclasses.replace(one["B"], predictions=few)})
    three = one["B"].predictions.drop(columns="p_sad")
    with pytest.raises(EmodiffError, match="not alike in emotions"):
        _check_alike({"A": one["A"], "B": dataclasses.replace(one["B"], predictions=three)})
    with pytest.raises(EmodiffError, match="two folders or more"):
        pool([])


def test_a_judge_that_one_corpus_lacks_is_not_compared(tmp_path: Path) -> None:
    one = read_corpora([made_up_results(tmp_path / name, name) for name in "AB"])
    heard = {k: dataclasses.replace(e, judged={"linear": e.predictions}) for k, e in one.items()}
    assert pooled_claims(heard)["verdict"].ne("not compared").tolist() == [True, False] * 2
    verdicts = pooled_claims({**heard, "A": one["A"]}).set_index("claim")["verdict"]
    assert verdicts["does synthetic data help, over all corpora (linear judge)"] == "not compared"


@pytest.mark.parametrize("old, new", [(b'"real"', b'"rael"'), (b'"seed"', b'"sead"'),
                                     (b'"arm"', b'"amr"'),
                                     (b'"resamples": 1', b'"resamples": -')])
def test_predictions_that_read_well_but_are_wrong_are_one_sentence(
        folder: Path, tmp_path: Path, old: bytes, new: bytes) -> None:
    copy = shutil.copytree(folder, tmp_path / folder.name)
    with np.load(copy / "predictions.npz") as found:
        arrays = {name: found[name] for name in found.files}
    for name, array in arrays.items():
        if array.dtype == np.uint8:  # names, as JSON
            arrays[name] = np.frombuffer(array.tobytes().replace(old, new), np.uint8)
    np.savez(copy / "predictions.npz", **arrays)
    with pytest.raises(EmodiffError, match=r"predictions\.npz .* run its chapters again"):
        recheck(copy)


@pytest.mark.parametrize("name, text", [
    ("RESULTS.md", b"\xff"), ("run.json", b'{"parameters": []}'), ("table2_claims.csv", b"\xff")])
def test_a_damaged_text_beside_the_predictions_is_one_sentence(
        tmp_path: Path, name: str, text: bytes) -> None:
    folder = made_up_results(tmp_path / "A", "A")
    (folder / "RESULTS.md").write_text("# Results\n")
    (folder / name).write_bytes(text)
    try:
        assert recheck(folder).faults
    except EmodiffError as error:
        assert str(folder) in str(error) and "chapters again" in str(error)


def test_a_damaged_file_of_predictions_is_one_sentence(tmp_path: Path) -> None:
    folder = made_up_results(tmp_path / "A", "A")
    whole, refused = (folder / "predictions.npz").read_bytes(), 0
    for at in range(60, len(whole), len(whole) // 12):
        broken = bytearray(whole)
        broken[at] ^= 255
        (folder / "predictions.npz").write_bytes(broken)
        try:
            read_evidence(folder)
        except EmodiffError as e:
            assert "predictions.npz" in str(e)
            refused += 1
    assert refused > 5  # of 12 or 13; some bytes carry nothing


def test_a_posterior_that_is_no_number_is_told(tmp_path: Path) -> None:
    arrays = _read_arrays(ROOT / "figures" / "demo" / PREDICTIONS)
    arrays["within.cnn.posteriors"][0, 0] = np.nan
    _write_arrays(tmp_path / PREDICTIONS, arrays)
    with pytest.raises(EmodiffError, match="not a number"):
        read_evidence(tmp_path)
