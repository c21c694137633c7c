"""`emodiff reproduce` runs a chapter again when, and only when, its results may change."""
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from emodiff.app.reproduce import ChapterTask, plan_chapters, run_chapters
from emodiff.base.chapter import save_table
from emodiff.base.core import EmodiffError, _writer, write_json

PARAMETERS = 'preset: str = "demo"\ncorpora_dir: str = ""\nout_dir: str = ""\nseeds: int = 0\n'
BODY = """
import pandas as pd
from emodiff.base.chapter import check_parameters, save_table
from emodiff.base.core import EmodiffError
check_parameters(globals(), ["preset", "corpora_dir", "out_dir", "seeds"])
save_table(pd.DataFrame({"x": [seeds]}), "table1_x", out_dir)
"""


@pytest.fixture
def nbs(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("IN_TEST")  # the chapters below are not under nbdev_test
    write_chapter(home / "nbs", BODY)
    return home / "nbs"


def write_chapter(nbs: Path, body: str, prose: str = "# A chapter") -> None:
    "The notebook of a chapter 03."
    cells = [("markdown", prose, []), ("code", PARAMETERS, ["parameters"]), ("code", body, [])]
    rows = [{"cell_type": kind, "id": f"c{i}", "source": text, "metadata": {"tags": tags},
             **({"outputs": [], "execution_count": None} if kind == "code" else {})}
            for i, (kind, text, tags) in enumerate(cells)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    write_json(nbs / "03_synthetic_data.ipynb",
               {"cells": rows, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


def task(nbs: Path, **given) -> ChapterTask:
    "The one task of the plan."
    given = {"preset": "smoke", "out_dir": str(nbs.parent / "out"), **given}
    return plan_chapters([], given, nbs=nbs, chapters=("03_synthetic_data",))[0]


def test_a_chapter_is_run_when_its_results_may_change(nbs: Path) -> None:
    assert task(nbs).reason == "not run here yet"
    results = run_chapters([task(nbs)])
    assert task(nbs).reason == "" and task(nbs).seconds > 0
    table = results.parent / "table1_x.csv"
    first = results.read_bytes(), table.read_bytes()
    write_chapter(nbs, BODY, "# Other prose")
    assert task(nbs).reason == ""
    assert "have changed" in task(nbs, seeds=3).reason
    table.write_text("x\n9\n")
    assert task(nbs).reason == "table1_x.csv was changed"
    table.unlink()
    assert task(nbs).reason == "table1_x.csv is missing"
    half = results.parent / f".fig1-{_writer(2**22 - 1)}.abcdefgh.png"  # of a process long dead
    half.touch()
    stale, record = results.parent / "table2_x.csv", json.loads(task(nbs).record.read_text())
    stale.write_text("x\n9\n")  # the last run made it, this one does not
    write_json(task(nbs).record, record | {"made": {**record["made"], stale.name: ""}})
    run_chapters([task(nbs)])
    assert not half.exists() and not stale.exists()
    assert (results.read_bytes(), table.read_bytes()) == first  # the same bytes
    write_chapter(nbs, BODY + "# a comment is code too, to a notebook")
    assert "have changed" in task(nbs).reason
    assert "table1_x.csv" in json.loads(task(nbs).record.read_text())["made"]


def test_a_failed_chapter_ends_in_one_sentence(nbs: Path) -> None:
    "Here it is the chapter that refuses a parameter of the wrong type."
    wrong = task(nbs)
    with pytest.raises(EmodiffError, match="^parameter 'seeds' must be of type int, not 'three'.$"):
        run_chapters([replace(wrong, parameters={**wrong.parameters, "seeds": "three"})])
    assert task(nbs).reason == "not run here yet"  # no record is left of a run that failed


def test_a_strange_error_names_the_notebook(nbs: Path) -> None:
    write_chapter(nbs, "raise OSError('no space left')")
    with pytest.raises(EmodiffError, match="failed with OSError: no space left; the whole error"):
        run_chapters([task(nbs)])


@pytest.mark.parametrize("given, sentence", [
    ({"tarjet": "x"}, "unknown parameter of 03_synthetic_data 'tarjet'"),
    ({"preset": "papr"}, "unknown preset 'papr'"),
    ({"corpora_dir": "/nothing here"}, "is not a folder"),
    ({"seeds": -1}, "setting protocol.seeds must be at least 1, not -1")])
def test_wrong_parameters_are_refused_before_anything_runs(nbs: Path, given, sentence) -> None:
    with pytest.raises(EmodiffError, match=sentence):
        task(nbs, **given)


def test_an_unknown_chapter_is_refused(nbs: Path) -> None:
    with pytest.raises(EmodiffError, match="unknown chapter '09'"):
        plan_chapters(["09"], {}, nbs=nbs, chapters=("03_synthetic_data",))


def test_tables_that_a_chapter_no_longer_makes_are_known(tmp_path: Path) -> None:
    "By its record, or by run.json in a folder from a repository; names of other folders are not."
    from emodiff.app.reproduce import _made_before

    task = ChapterTask(Path("04_within_corpus.ipynb"), {}, tmp_path, "", "", 0.0)
    assert _made_before(task) == set()
    kept = [{"chapter": "04_within_corpus", "made": ["table2_leak.csv", "../notes.md"]}]
    (tmp_path / "run.json").write_text(json.dumps(kept), "utf-8")
    assert _made_before(task) == {"table2_leak.csv"}
    task.record.parent.mkdir()
    task.record.write_text(json.dumps({"key": "", "seconds": 0, "made": {"share_curve.md": "0"}}))
    assert _made_before(task) == {"share_curve.md"}


def test_results_of_leaky_arms_only_are_refused_before_any_chapter_runs() -> None:
    with pytest.raises(EmodiffError, match="name other arms than leaky ones for chapter 05"):
        plan_chapters([], {"preset": "smoke", "arms": ["leaky"]})


@pytest.mark.parametrize("text", ["[", "[1]", '[{"chapter": "04_within_corpus"}]', "3"])
def test_a_damaged_run_json_is_one_sentence(tmp_path: Path, text: str) -> None:
    from emodiff.pages.results import results_md

    (tmp_path / "run.json").write_text(text, "utf-8")
    save_table(pd.DataFrame({"a": [1]}), "table1_mad", tmp_path)
    with pytest.raises(EmodiffError, match="run.json is no record of chapters"):
        results_md(tmp_path)


@pytest.mark.parametrize("cell", ["three", "supported by many"])
def test_damaged_claims_are_one_sentence(tmp_path: Path, cell: str) -> None:
    from emodiff.pages.results import results_md

    row = {"claim": "a", "section": "5", "arm": "a", "against": "b", "gain": "1", "low": "0",
           "high": "2", "speakers": "9", "verdict": "undecided", "text": "A."}
    row["gain" if cell == "three" else "verdict"] = cell
    lines = [",".join(row), ",".join(row.values())]
    (tmp_path / "table2_claims.csv").write_text("\n".join(lines), "utf-8")
    with pytest.raises(EmodiffError, match="table2_claims.csv cannot be read as claims"):
        results_md(tmp_path)


def test_results_among_the_corpora_do_not_count_as_corpora(tmp_path: Path) -> None:
    from emodiff.app.reproduce import _corpora_files

    (tmp_path / "EmoDB").mkdir()
    (tmp_path / "EmoDB" / "a.wav").write_bytes(b"1")
    (tmp_path / "results").mkdir()
    before = _corpora_files(str(tmp_path), tmp_path / "results")
    (tmp_path / "results" / "table1_mad.csv").write_text("a")
    assert _corpora_files(str(tmp_path), tmp_path / "results") == before == [("EmoDB/a.wav", 1)]
