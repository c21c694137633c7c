"""Anyone's synthetic speech, judged: eSpeak's, copies of the real clips, shuffled labels."""
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
from typer.testing import CliRunner

from emodiff.app.cli import app
from emodiff.augment.judge import (
    Judgement,
    Submitted,
    copy_finding,
    fidelity_finding,
    fidelity_rows,
    hear_submission,
    judge_cells,
    judge_settings,
    read_submission,
    sound_rows,
)
from emodiff.base.core import EmodiffError, rng_for
from emodiff.base.settings import Standin, load_preset
from emodiff.recognition.classifier import made_up_segments
from emodiff.recognition.linear import linear_predictions
from emodiff.speech.segments import Segments, prepare
from emodiff.speech.standins import load_corpus

HOSTILE = "<img src=x>broken.wav"  # a broken clip whose name would be a tag of the page


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A folder with real.csv (stand-in speech of one corpus) and tables to be judged by it."
    folder = tmp_path_factory.mktemp("judge")
    before = os.environ.get("EMODIFF_HOME")
    os.environ["EMODIFF_HOME"] = str(folder / "home")
    try:
        spoken = {c: load_corpus(c, None, Standin(speakers=4, lines=2)) for c in (
            "IEMOCAP", "CREMA-D")}
    finally:
        if before is None:
            os.environ.pop("EMODIFF_HOME")
        else:
            os.environ["EMODIFF_HOME"] = before
    real, other = (m.assign(file=m["path"])[["file", "speaker", "gender", "emotion", "text"]]
                   for m in spoken.values())
    real.to_csv(folder / "real.csv", index=False)
    other = other.groupby("emotion").head(8)
    (folder / HOSTILE).write_bytes(b"RIFF nothing")
    extra = pd.DataFrame([[HOSTILE, "x", "f", "sad", "Hello."],
                          [other["file"].iloc[0], "x", "f", "furious", "Hello."]],
                         columns=other.columns)
    pd.concat([other, extra]).to_csv(folder / "espeak.csv", index=False)
    rows = []
    for i, row in enumerate(real.to_dict("records")[::2]):
        wave, rate = soundfile.read(row["file"], dtype="float32")
        speed = (0.9, 1.1)[i % 2]
        soundfile.write(folder / f"{i}.flac", soxr.resample(wave, speed * rate, rate), rate)
        rows.append({**row, "file": f"{i}.flac"})
    copies = pd.DataFrame(rows)
    copies.to_csv(folder / "copies.csv", index=False)
    order = rng_for("shuffle").permutation(len(copies))
    copies.assign(emotion=copies["emotion"].to_numpy()[order]).to_csv(folder / "shuffled.csv",
                                                                      index=False)
    return folder


def judged(tables: Path, name: str, out: Path) -> dict:
    "The row that the command prints for a table."
    done = CliRunner().invoke(app, [
        "judge", str(tables / f"{name}.csv"), "--real", str(tables / "real.csv"), "--preset",
        "smoke", "--device", "cpu", "--json", "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert "about" in done.stderr and "on this machine" in done.stderr
    return json.loads(done.stdout)


def test_espeak_and_a_broken_clip(home: Path, tables: Path) -> None:
    "The run ends, counts what it could not use, and writes one page and one row."
    row = judged(tables, "espeak", home / "a.html")
    assert row["clips"]["unusable"] == 1 and row["clips"]["theirs"] == 32
    assert not any(text.startswith("Memorised") for text in row["findings"])
    assert {"real + theirs minus real, linear", "real + theirs minus real + speed, CNN-BLSTM",
            "theirs minus chance, linear"} <= set(row["gains"])
    page = (home / "a.html").read_text("utf-8")
    assert "one Mel for every prompt" in page
    assert "&lt;img src=x&gt;broken.wav" in page and "<img src=x>" not in page
    assert 'src="http' not in page and json.loads((home / "a.json").read_text("utf-8")) == row
    compared = CliRunner().invoke(app, ["judge", "--compare", str(home / "a.json"),
                                        str(home / "a.json"), "--json"])
    assert {"measure", "espeak.csv, by real.csv"} <= set(json.loads(compared.stdout)[0])


def test_a_single_clip_is_judged_where_it_may_be_used(home: Path, tables: Path) -> None:
    "Its speaker is never tested by what it taught; the other folds are compared."
    pd.read_csv(tables / "copies.csv").head(1).to_csv(tables / "single.csv", index=False)
    row = judged(tables, "single", home / "single.html")
    assert row["clips"]["theirs"] == 1
    assert any("1 of 1 clip is a copy" in text for text in row["findings"])
    assert row["gains"]["real + theirs minus real, linear"]["gain"] is not None


def test_copies_of_real_clips_are_told(home: Path, tables: Path) -> None:
    "Played faster and slower; and nobody's clip is trained on where its speaker is tested."
    given = read_submission(tables / "copies.csv", tables / "real.csv")
    speech = hear_submission(given, load_preset("smoke"))
    assert len(speech.copies) > 0.6 * len(given.theirs)
    none = pd.DataFrame()
    assert copy_finding(Judgement(speech, none, none, none, none))[0].startswith("Memorised: ")
    for cell in judge_cells(speech, judge_settings(load_preset("smoke"), 4)):
        tested = set(speech.real.table["speaker"].iloc[cell.test["real"]])
        for i in cell.train.get("theirs", []):
            assert not speech.made_of[i] & tested


def said_with(labels: np.ndarray, real: Segments, theirs: Segments, speakers: int) -> str:
    "What the linear judge makes of theirs with these labels."
    none = pd.DataFrame(columns=["theirs", "real", "likeness"])
    table = theirs.table.assign(utterance="theirs " + theirs.table["utterance"], emotion=labels)
    speech = Submitted(real, Segments(theirs.mels, table, emotions=real.emotions), none,
                       [frozenset([s]) for s in table["speaker"]], [])
    settings = judge_settings(load_preset("smoke"), speakers)
    cells = [c for c in judge_cells(speech, settings) if c.arm == "real" and c.seed == 0]
    heard = linear_predictions(cells, {"real": real, "theirs": speech.theirs})
    found = fidelity_rows({"linear": heard}, settings)
    return fidelity_finding(Judgement(speech, found, none, none, none))[0]


def test_shuffled_labels_are_told() -> None:
    "On made-up speech whose classes are plain to hear."
    real, theirs = made_up_segments(96, 0, "ABCDEF"), made_up_segments(48, 1, "ABCDEF")
    labels = theirs.table["emotion"].to_numpy()
    shuffled = labels[rng_for("shuffle").permutation(48)]
    assert said_with(labels, real, theirs, 6).startswith("The intended emotion is heard")
    assert said_with(shuffled, real, theirs, 6).startswith("The labels are not what is heard")


def test_shuffled_labels_of_recorded_speech_are_told(home: Path, shared: Path) -> None:
    "RAVDESS's first readings as real speech, second ones as theirs: right labels, then shuffled."
    rows = load_corpus("RAVDESS", shared / "corpora", None, ())
    rows = rows[rows["speaker"].isin([f"{i:02}" for i in range(1, 7)])].reset_index(drop=True)
    speech = prepare(rows, load_preset("smoke").features, 1)
    speech = speech.take(speech.table["segment"] == 0)
    second = speech.table["path"].str.contains(r"-02-\d\d\.flac$")
    real, theirs = speech.take(~second), speech.take(second)
    labels = theirs.table["emotion"].to_numpy()
    shuffled = labels[rng_for("shuffle").permutation(len(labels))]
    assert said_with(labels, real, theirs, 6).startswith("The intended emotion is heard")
    assert said_with(shuffled, real, theirs, 6).startswith("The labels are not what is heard")


def test_judges_of_the_sound_take_part_where_they_are(home: Path, tables: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    "With make-believe packages: whole clips at 16 kHz, the same for real speech and theirs."
    from emodiff.augment import judge

    def loudness(waves: list[np.ndarray]) -> np.ndarray:
        return np.array([[w.std(), np.abs(np.diff(w)).mean(), len(w)] for w in waves])

    monkeypatch.setattr(judge, "egemaps", loudness)
    monkeypatch.setattr(judge, "speaker_embeddings", loudness)
    monkeypatch.setattr(judge, "heard_words", lambda waves: ["hello"] * len(waves))
    speech = hear_submission(read_submission(tables / "copies.csv", tables / "real.csv"),
                             load_preset("smoke"))
    found = sound_rows(speech, load_preset("smoke"), judges=("emotion", "speaker", "words"))
    assert found["speech"].to_list() == ["theirs", "real"]
    assert found[["emotion by eGeMAPS (UAR %)", "speaker found (%)",
                  "word errors (%)"]].notna().all(axis=None)


@pytest.mark.parametrize(("arguments", "said"), [
    (["judge"], "name both tables"), (["judge", "a.csv"], "name both tables"),
    (["judge", "nowhere.csv", "--real", "REAL", "--dry-run"], "cannot be read"),
    (["judge", "REAL", "--real", "REAL", "-o", "x.pdf"], "ending of a report"),
    (["judge", "REAL", "--real", "REAL", "--model", "no/such-model", "--dry-run"], "hub name"),
    (["judge", "--compare", "a.json", "b.json"], "no row of a judgement")])
def test_wrong_arguments_are_one_sentence(home: Path, tables: Path, arguments: list[str],
                                          said: str) -> None:
    given = [str(tables / "real.csv") if a == "REAL" else a for a in arguments]
    error = CliRunner().invoke(app, given).exception
    assert isinstance(error, EmodiffError) and said in str(error) and "\n" not in str(error)


def test_a_dry_run_makes_nothing(home: Path, tables: Path) -> None:
    asked = ["judge", str(tables / "espeak.csv"), "--real", str(tables / "real.csv"), "--preset",
             "smoke", "--device", "cpu", "--dry-run", "-o", str(home / "a.html")]
    done = CliRunner().invoke(app, asked)
    assert "would go to" in done.stdout and not (home / "a.html").exists()
