"""Speech on both sides of a split: what `emodiff audit` finds, and what it leaves alone."""
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import parselmouth
import pytest
import soundfile
import soxr
from typer.testing import CliRunner

from emodiff.app.cli import app
from emodiff.augment.split_audit import audit_split, read_split, write_split_audit
from emodiff.base.core import EmodiffError, rng_for
from emodiff.speech.standins import load_corpus

RATE = 22050


def nonsense(seed: int, seconds: float = 1.2) -> np.ndarray:
    "A voice at a wandering pitch through wandering formants; another one for another seed."
    rng, n = rng_for("nonsense", seed), int(seconds * RATE)

    def wander(low: float, high: float, points: int = 9) -> np.ndarray:
        return np.interp(np.arange(n), np.linspace(0, n, points), rng.uniform(low, high, points))

    phase = np.cumsum(wander(110, 240)) / RATE
    formants = wander(300, 800), wander(900, 2200), wander(2300, 3200)
    wave = sum(np.sin(2 * np.pi * k * phase) * sum(np.exp(-((k * 170 - f) / 250) ** 2)
                                                   for f in formants) for k in range(1, 25))
    return (wave * wander(0.1, 1, 12) / 4).astype(np.float32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "Eight clips of four speakers, and changed copies of some."
    folder = tmp_path_factory.mktemp("split")
    hiss = rng_for("hiss").standard_normal(int(1.2 * RATE)) * 0.02
    waves = {str(i): nonsense(i) for i in range(8)}
    waves |= {"same": nonsense(0), "late": np.pad(nonsense(1), (9000, 0)),
              "cut": nonsense(2)[7000:],
              "fast": soxr.resample(nonsense(3), 1.15 * RATE, RATE),
              "slow": soxr.resample(nonsense(0), 0.85 * RATE, RATE),
              "noisy": nonsense(1) + hiss.astype(np.float32)}
    for name, wave in waves.items():
        soundfile.write(folder / f"{name}.wav", wave, RATE)
    (folder / "broken.wav").write_bytes(b"RIFF nothing")
    return folder


def table(folder: Path, *rows: str, header: str = "file,speaker,split") -> Path:
    "A split on disk: clips 0-3 of a and b in train, 4-7 of c and d in test, and further rows."
    own = [f"{i}.wav,{'aabbccdd'[i]},{'train' if i < 4 else 'test'}" for i in range(8)]
    commas = "," * (header.count(",") - 2)
    path = folder / f"split-{abs(hash((rows, header)))}.csv"
    path.write_text("\n".join([header, *(r + commas for r in own), *rows]))
    return path


def asked(*arguments: str) -> tuple[int, str]:
    "Status and output of the command."
    done = CliRunner().invoke(app, ["audit", *arguments, "--jobs", "1"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def test_a_clean_split_is_one_sentence(home: Path, corpus: Path) -> None:
    status, text = asked(str(table(corpus)))
    assert status == 0 and text.count("\n") == 1
    assert "no speaker, clip or recording" in text


def test_every_kind_of_copy_is_found_and_told(home: Path, corpus: Path) -> None:
    names = "same", "late", "cut", "fast", "slow", "noisy"
    path = table(corpus, *(f"{n}.wav,{n},test" for n in names), "broken.wav,e,test")
    status, text = asked(str(path), "--json", "-o", str(home / "leaks.csv"))
    found = json.loads(text)
    pairs = {(leak["first"], leak["second"]): leak["what"] for leak in found["leaks"]}
    assert status == 1 and not found["clean"]
    assert {second: first for first, second in pairs} == {
        f"{n}.wav": f"{i}.wav" for n, i in zip(names, (0, 1, 2, 3, 0, 1), strict=True)}
    assert "1.15 times the speed" in pairs["3.wav", "fast.wav"]
    assert "0.85 times the speed" in pairs["0.wav", "slow.wav"]
    assert re.search(r"0\.3\d s later", pairs["2.wav", "cut.wav"])
    assert "the same sound" in pairs["0.wav", "same.wav"]
    assert len(found["unread"]) == 1 and "1 clip could not be read" in found["sentence"]
    assert len(pd.read_csv(home / "leaks.csv")) == len(pairs)


def test_another_tempo_at_the_same_pitch_is_found(home: Path, corpus: Path) -> None:
    "By Praat's overlap-add."
    sound = parselmouth.Sound(nonsense(1).astype(float), RATE)
    slow = parselmouth.praat.call(sound, "Lengthen (overlap-add)", 75, 600, 1.2).values[0]
    soundfile.write(corpus / "slower.wav", slow, RATE)
    found = audit_split(read_split(table(corpus, "slower.wav,x,test")), jobs=1).leaks
    assert len(found) == 1 and found["first"][0] == "1.wav"
    assert re.search(r"0\.8\d times the speed, the pitch as it was", found["what"][0])


def test_what_the_table_says(home: Path, corpus: Path) -> None:
    "Speakers, a file named twice, and what was generated from test clips or test speakers."
    header = "file;speaker;split;synthetic;source;start;end"
    rows = ["same.wav;A;test;;;;", "4.wav;c;train;;;0;1", "late.wav;x;train;true;5.wav;;",
            "cut.wav;y;train;1;0.wav | d;;", "fast.wav;z;train;yes;;;", "noisy.wav;;train;;;;"]
    own = [f"{i}.wav;{'aabbccdd'[i]};{'Train' if i < 4 else 'TEST'};;;;" for i in range(8)]
    path = corpus / "said.csv"
    path.write_text("\n".join([header, *own, *rows]))
    audit = audit_split(read_split(path), sound=False)
    what = audit.leaks.groupby("kind")["what"].apply(list).to_dict()
    assert [w[:10] for w in what["speaker"]] == ["speaker a:", "speaker c:"]
    assert len(what["clip"]) == 1 and what["clip"][0].startswith("4.wav is in")
    assert [w.split(" of ")[0] for w in what["generated"]] == [
        "late.wav in train was generated from 5.wav", "cut.wav in train was generated from d"]
    assert "1 synthetic row without a source" in audit.sentence
    assert "1 row left out" in audit.sentence


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", "=HYPERLINK(0)", "\x1b[2Jx"])
def test_hostile_names_stay_data(tmp_path: Path, evil: str) -> None:
    "A speaker in both parts, and a file: in the page, in the list and in the sentence."
    path = tmp_path / "split.csv"
    path.write_text(f"file,speaker,split\n{evil}.wav,{evil},train\n{evil}.wav,{evil},test\n")
    audit = audit_split(read_split(path), sound=False)
    assert {"speaker", "clip"} == set(audit.leaks["kind"])
    page = write_split_audit(audit, tmp_path / "leaks.html").read_text("utf-8")
    rows = pd.read_csv(write_split_audit(audit, tmp_path / "leaks.csv"), dtype=str)
    assert "<script>alert" not in page and "\x1b" not in page + audit.sentence
    assert not rows.map(lambda cell: str(cell).startswith(("=", "\x1b"))).any(axis=None)


@pytest.mark.parametrize(("text", "said"), [
    ("file,speaker\na.wav,x\n", "lacks the column split"),
    ("file,speaker,split\na.wav,x,train\n", "one part"),
    ("file,speaker,split\n,x,train\n", "no usable row")])
def test_a_table_that_is_no_split(home: Path, text: str, said: str) -> None:
    (home / "split.csv").write_text(text)
    with pytest.raises(EmodiffError, match=said):
        asked(str(home / "split.csv"), "--dry-run")
    with pytest.raises(EmodiffError, match="ending of a report"):
        asked(str(home / "split.csv"), "-o", "x.pdf")


def test_the_tables_of_an_audformat_database(home: Path, corpus: Path) -> None:
    folder = home / "db"
    folder.mkdir()
    (folder / "db.yaml").write_text("name: db\ntables:\n  a: {split_id: train}\n"
                                    "  b: {split_id: test}\n")
    for name, clips in (("a", (0, 1)), ("b", (1, 4))):
        lines = [f"{corpus / str(i)}.wav,{i},sad" for i in clips]
        (folder / f"db.{name}.csv").write_text("\n".join(["file,speaker,emotion", *lines]))
    found = audit_split(read_split(folder), sound=False)
    assert found.leaks["kind"].to_list() == ["speaker", "clip"]


def test_recorded_speech(home: Path, shared: Path, tmp_path: Path) -> None:
    "RAVDESS: a split by utterance, copies of two clips, and readings that are no copies."
    rows = load_corpus("RAVDESS", shared / "corpora", None, ())
    chosen = rows[rows["speaker"].isin(["01", "02", "13", "22"]) & (rows["emotion"] == "sad")]
    chosen = chosen.reset_index(drop=True)
    mixed = ["train" if i % 3 else "test" for i in range(len(chosen))]
    by_speaker = np.where(chosen["speaker"].isin(["01", "02"]), "train", "test")
    lines = pd.DataFrame({"file": chosen["path"], "speaker": chosen["speaker"]})
    lines.assign(split=mixed).to_csv(tmp_path / "utterance.csv", index=False)
    found = audit_split(read_split(tmp_path / "utterance.csv"), jobs=1)
    # every speaker is found, and no reading of a sentence is taken for another of it
    assert found.leaks["kind"].to_list() == ["speaker"] * 4
    for name, change in {"fast": lambda w: soxr.resample(w, 1.12 * RATE, RATE),
                         "later": lambda w: w[int(0.9 * RATE):]}.items():
        wave, _ = soundfile.read(lines["file"][0 if name == "fast" else 1], dtype="float32")
        soundfile.write(tmp_path / f"{name}.flac", change(wave), RATE)
    more = pd.DataFrame({"file": ["fast.flac", "later.flac"], "speaker": "new", "split": "test"})
    both = pd.concat([lines.assign(split=by_speaker), more])
    both.to_csv(tmp_path / "speaker.csv", index=False)
    found = audit_split(read_split(tmp_path / "speaker.csv"), jobs=1)
    assert found.leaks["kind"].to_list() == ["copy", "copy"]
    assert set(found.leaks["second"]) == {"fast.flac", "later.flac"}


@pytest.mark.parametrize("flag", ["True", "1", "1.0", "yes", "y", "T"])
def test_a_synthetic_row_is_known_however_it_is_marked(corpus: Path, flag: str) -> None:
    header = "file,speaker,split,synthetic,source"
    split = table(corpus, f"4.wav,z,test,{flag},0.wav", header=header)
    found = audit_split(read_split(split), sound=False)
    assert "0.wav" in "".join(found.leaks["what"])


def test_a_mark_that_is_neither_yes_nor_no_is_counted(corpus: Path) -> None:
    header = "file,speaker,split,synthetic,source"
    split = read_split(table(corpus, "same.wav,z,test,ja,0.wav", header=header))
    assert len(split.rejected) == 1
    assert split.rejected[0]["fault"] == "synthetic 'ja' is neither yes nor no"


def test_the_list_does_not_take_the_place_of_the_table(corpus: Path) -> None:
    split = table(corpus)
    before = split.read_bytes()
    found = CliRunner().invoke(app, ["audit", str(split), "--no-sound", "-o", str(split)])
    assert "name another file" in str(found.exception) and split.read_bytes() == before
