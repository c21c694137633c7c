"""Augmenting a reader's own corpus: killed runs, faulty tables, hostile names, real speech."""
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from emodiff.augment.cost import TEST_ARMS
from emodiff.augment.delivery import joint_table
from emodiff.augment.report import Augmented
from emodiff.augment.run import augment
from emodiff.augment.source import Request, prepare_speech, read_speech, standin_csv
from emodiff.base.core import data_dir, digest, error_message, home, runs_dir, write_text
from emodiff.base.settings import load_preset
from emodiff.generator.vocoder import write_wav
from emodiff.pages.html import fill
from emodiff.recognition.audit import leak_audit
from emodiff.speech.corpora import read_corpus
from emodiff.speech.segments import load_segments
from emodiff.speech.tables import read_csv, write_csv

SMOKE = load_preset("smoke")
NOUNS = {"angry": "anger", "happy": "happiness", "neutral": "neutral", "sad": "sadness"}


def quiet(line: str) -> None:
    "Where `augment` logs to."


def contents(folder: Path) -> dict[str, str]:
    "The digest of every file below a folder; the folder's own path in the table does not count."
    found = {p.relative_to(folder).as_posix(): p.read_bytes()
             for p in sorted(folder.rglob("*")) if p.is_file()}
    return {name: digest(data.replace(os.fsencode(folder), b"...") if name == "augmented.csv"
                         else data) for name, data in found.items()}


def heard_by(key: str) -> set[str]:
    "The speakers that a generator was trained on."
    path = runs_dir() / "generator" / key / "trained_on.csv"
    return set(pd.read_csv(path, dtype=str)["speaker"])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    "A folder whose `home` is the project's home for all tests here: prompts are embedded once."
    folder = tmp_path_factory.mktemp("augment")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMODIFF_HOME", str(folder / "home"))
        yield folder


@pytest.fixture(scope="module")
def hifigan(root: Path) -> str:
    "A HiFi-GAN of no skill, quicker than Griffin-Lim."
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    shape = SpeechT5HifiGanConfig(
        model_in_dim=80, sampling_rate=22050, upsample_initial_channel=16,
        upsample_rates=[8, 8, 2, 2], upsample_kernel_sizes=[16, 16, 4, 4],
        resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]], normalize_before=False)
    SpeechT5HifiGan(shape).save_pretrained(root / "hifigan")
    return str(root / "hifigan")


@pytest.fixture(scope="module")
def whole(root: Path) -> pd.DataFrame:
    "The manifest of stand-in speech: four speakers, 32 utterances."
    return read_speech(standin_csv(root, SMOKE.standin)).manifest


@pytest.fixture(scope="module")
def table(root: Path, whole: pd.DataFrame) -> Path:
    "The stand-in speech as a CSV, with one row of every fault."
    write_wav(np.zeros(8000, np.float32), root / "silent.wav")
    (root / "empty.wav").write_bytes(b"")
    first = whole["path"][0]
    shutil.copyfile(first, root / "again.wav")
    faults = [["missing.wav", "A", "f", "angry"], ["silent.wav", "A", "f", "sad"],
              ["empty.wav", "A", "f", "sad"], [first, "", "f", "happy"],
              ["again.wav", "A", "f", "happy"], ["a.wav", "A", "f", "bored"],
              ["b.wav", "", "f", "sad"], ["d.wav", "A", "f", "fear"]]
    rows = [",".join([*row, "", "stand-in", "", ""]) for row in faults] + ["c.wav,A"]
    path = root / "standin.csv"
    return write_text(root / "faults.csv", path.read_text("utf-8") + "\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def result(root: Path, table: Path, hifigan: str) -> Augmented:
    "The table augmented from start to end."
    return augment(table, root / "out", Request(2, hifigan), SMOKE, {"fear": ""}, log=quiet)


def test_every_row_is_accounted_for(table: Path) -> None:
    speech = read_speech(table, {"fear": ""})
    _, speech = prepare_speech(speech, SMOKE.features, 1)
    assert speech.rows == 32 + 9
    assert (len(speech.manifest), len(speech.rejected), speech.skipped) == (32, 8, 1)
    assert {Path(f).name for f in speech.rejected["file"]} >= {
        "missing.wav", "silent.wav", "empty.wav", "again.wav"}
    assert speech.rejected["fix"].str.len().gt(0).all()


def test_the_files_are_what_they_promise(result: Augmented) -> None:
    out = result.folder
    files = sorted(p.relative_to(out).as_posix() for p in out.rglob("*"))
    assert files[-1] == "results.json" and not [f for f in files if "/." in f or f[0] == "."]
    both = read_csv(out / "augmented.csv")  # nkululeko's convention, as input again
    assert not both.attrs["rejected"] and len(both) == 32 + 8
    marks = pd.read_csv(out / "augmented.csv", dtype=str)["synthetic"]
    assert marks.value_counts().to_dict() == {"False": 32, "True": 8}
    again = read_speech(out / "augmented.csv")
    assert again.synthetic == 8 and again.manifest["path"].tolist() == both["path"][:32].tolist()
    assert len(pd.read_csv(out / "rejected.csv")) == 8 == len(result.speech.rejected)
    waves = sorted((out / "audio").iterdir())
    assert {(soundfile.info(w).subtype, soundfile.info(w).samplerate) for w in waves} == {
        ("PCM_16", 22050)}
    mels = np.load(out / "mels" / "mels.npy", allow_pickle=False)
    assert mels.shape == (8, 80, 256) and len(waves) == 8
    assert len(load_segments(out / "mels")) == len(result.synthetic)


class Outside(HTMLParser):
    "Counts a page's players and notes whatever it would fetch."

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.players = 0

    def handle_starttag(self, tag: str, attrs: list) -> None:
        "Look at what the tag refers to."
        self.players += tag == "audio"
        links = [v for k, v in attrs if k in ("src", "href", "srcset", "data", "poster")]
        self.fetched += [v[:60] for v in links if not v.startswith("data:")]


def test_the_report_fetches_nothing(result: Augmented) -> None:
    page, text = Outside(), result.report.read_text("utf-8")
    page.feed(text)
    assert not page.fetched and page.players >= 9 and page.players % 3 == 0
    assert fill("{{ s }}", s=result.advice.sentence) in text and "connect-src" not in text
    assert all(word in text for word in ("Fréchet", "MAD", "memorisation", "learnt", "control"))
    numbers = json.loads((result.folder / "results.json").read_text("utf-8"))
    assert [row["arm"] for row in numbers["uar"]] == list(TEST_ARMS) and numbers["rejected"] == 8


def test_no_generator_of_the_test_has_heard_the_speaker_it_serves(result: Augmented) -> None:
    everyone = set(result.real.table["speaker"])
    assert heard_by(result.generator.name) == everyone and len(everyone) == 4
    assert result.trial is not None
    assert all(len(heard_by(key)) == 2 for key in result.trial.generators)
    assert leak_audit(result.trial.predictions).empty
    assert result.trial.uar["speakers"].eq(4).all()


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    root: Path, table: Path, hifigan: str, result: Augmented, monkeypatch: pytest.MonkeyPatch,
) -> None:
    second = root / "second"
    code = ("import sys; from emodiff.augment.run import Request, augment; "
            "from emodiff.base.settings import load_preset; augment(sys.argv[1], sys.argv[2], "
            "Request(per_emotion=2, vocoder=sys.argv[3]), load_preset('smoke'), {'fear': ''})")
    prompts = data_dir() / "cache" / "prompts"  # embedded once is enough for a test
    shutil.copytree(prompts, root / "home2" / prompts.relative_to(home()))
    monkeypatch.setenv("EMODIFF_HOME", str(root / "home2"))
    with open(root / "killed.txt", "wb") as log:
        victim = subprocess.Popen([sys.executable, "-c", code, table, second, hifigan],
                                  stdout=log, stderr=log)
        end = time.monotonic() + 120
        while not (second / "augmented.csv").exists() and time.monotonic() < end:
            assert victim.poll() is None, (root / "killed.txt").read_text()
            time.sleep(0.02)
        victim.send_signal(signal.SIGKILL)
        assert victim.wait() == -signal.SIGKILL
    assert not (second / "report.html").exists()
    before = {p: p.stat().st_mtime_ns for p in runs_dir().glob("*/*/run.json")}
    augment(table, second, Request(2, hifigan), SMOKE, {"fear": ""}, log=quiet)
    after = {p: p.stat().st_mtime_ns for p in runs_dir().glob("*/*/run.json")}
    assert before.items() <= after.items() and len(before) >= 3  # Mels, generator, samples, waves
    assert contents(second) == contents(result.folder)


def test_speakers_kept_out_and_one_speaker_alone(
    root: Path, whole: pd.DataFrame, hifigan: str,
) -> None:
    one = whole.assign(speaker=np.where(whole["speaker"] == "Ses01F", "B", "A"))
    write_csv(one, root / "one.csv")
    request = Request(per_emotion=1, vocoder=hifigan, kind="flac", held_out=("B",))
    alone = augment(root / "one.csv", root / "alone", request, SMOKE, log=quiet)
    assert alone.advice.verdict == "no advice" and alone.trial is None
    assert read_csv(root / "alone" / "held_out.csv")["speaker"].eq("B").all()
    assert set(read_csv(root / "alone" / "augmented.csv")["speaker"]) == {"A"}
    assert heard_by(alone.generator.name) == {"A"}
    assert len(list((root / "alone" / "audio").glob("*.flac"))) == 4


def test_a_mistake_is_one_sentence_and_nothing_is_written_over(
    root: Path, table: Path, hifigan: str, result: Augmented,
) -> None:
    write_text(root / "mine" / "thesis.txt", "years of work")
    write_text(root / "none.csv", "file,speaker,emotion\nx.wav,A,sad\n")
    everyone = tuple(sorted(set(result.real.table["speaker"])))
    wrong = [(table, root / "mine", {}), (table, root / "out", {"per_emotion": 3}),
             (table, root / "new", {"per_emotion": 0}), (table, root / "new", {"kind": "mp3"}),
             (table, root / "new", {"held_out": ("Nobody",)}),
             (root / "none.csv", root / "new", {}), (root / "mine", root / "new", {}),
             (root / "nowhere.csv", root / "new", {}),
             (table, root / "new", {"held_out": everyone})]
    for source, folder, changes in wrong:
        said = error_message(lambda s=source, f=folder, c=changes: augment(
            s, f, Request(**{"per_emotion": 2, "vocoder": hifigan, **c}), SMOKE, log=quiet))
        assert said and "\n" not in said
    assert contents(root / "mine") == {"thesis.txt": digest(root / "mine" / "thesis.txt")}
    assert not (root / "new").exists()


def test_a_damaged_record_is_not_taken_for_ours(root: Path, table: Path, hifigan: str) -> None:
    write_text(root / "damaged" / "augment.json", "{")
    write_text(root / "damaged" / "augmented.csv", "file")
    assert "damaged" in error_message(augment, table, root / "damaged", Request(2, hifigan), SMOKE,
                                      log=quiet)


def test_hostile_names_stay_text(root: Path, whole: pd.DataFrame, hifigan: str) -> None:
    evil = "<script>alert('1')</script>"
    rows = whole[["path", "speaker", "gender", "emotion", "text"]].rename(columns={"path": "file"})
    rows["speaker"] = rows["speaker"].replace("Ses01F", evil)
    rows["text"] = "<img src=x onerror=alert(2)>"
    rows["note"] = "=1+1\rX"
    rows.to_csv(root / "hostile.csv", index=False, quoting=csv.QUOTE_ALL)
    made = augment(root / "hostile.csv", root / "hostile", Request(1, hifigan), SMOKE, log=quiet)
    text, page = made.report.read_text("utf-8"), Outside()
    page.feed(text)
    assert not page.fetched and "<img src=x" not in text and "<script>alert" not in text
    assert "&lt;script&gt;" in text
    both = pd.read_csv(made.folder / "augmented.csv", dtype=str, keep_default_na=False)
    assert evil in set(both["speaker"]) and both["note"][0] == "'=1+1\rX"  # no formula
    assert read_speech(made.folder / "augmented.csv").extra["note"].iloc[0] == "=1+1\rX"
    assert not [p for p in (made.folder / "audio").iterdir() if "<" in p.name]


def write_database(base: Path, whole: pd.DataFrame) -> None:
    "The clips as an audformat database; one clip is missing, another is bored."
    for path in whole["path"]:
        (base / "wav").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, base / "wav")
    people = whole.drop_duplicates("speaker").set_index("speaker")["gender"]
    sentences = {f"s{i}": text for i, text in enumerate(sorted(set(whole["text"])))}
    code_of = {text: code for code, text in sentences.items()}
    write_text(base / "db.yaml", "\n".join([
        "name: ours", "schemes:",
        "  emotion: {dtype: str, labels: {anger: {}, happiness: {}, neutral: {}, sadness: {}}}",
        "  speaker: {dtype: str, labels: {" + ", ".join(f"{k}: {{gender: {v}}}"
                                                      for k, v in people.items()) + "}}",
        "  transcription: {dtype: str, labels: " + json.dumps(sentences) + "}",
        "tables:", "  emotion: {type: filewise, columns: {emotion: {scheme_id: emotion}}}",
        "  files: {type: filewise, columns: {speaker: {scheme_id: speaker}}}", ""]))
    files = [f"wav/{Path(path).name}" for path in whole["path"]] + ["wav/gone.wav", "wav/bored.wav"]
    pd.DataFrame({"file": files, "emotion": [*map(NOUNS.get, whole["emotion"]), "anger", "boredom"]}
                 ).to_csv(base / "db.emotion.csv", index=False)
    pd.DataFrame({"file": files, "speaker": [*whole["speaker"], *[whole["speaker"].iloc[0]] * 2],
                  "transcription": [*map(code_of.get, whole["text"]), "s0", "s0"]}
                 ).to_csv(base / "db.files.csv", index=False)


def test_an_audformat_database(root: Path, whole: pd.DataFrame, hifigan: str) -> None:
    write_database(root / "database", whole)
    found = augment(root / "database", root / "from-database", Request(2, hifigan), SMOKE,
                    {"boredom": ""}, log=quiet)
    assert found.speech.skipped == 1 and len(found.speech.rejected) == 1
    assert "gone.wav" in found.speech.rejected["file"].iloc[0]
    same = ["utterance", "speaker", "emotion", "gender", "text"]
    wanted = whole.sort_values("utterance")[same].to_numpy().tolist()
    assert found.speech.manifest.sort_values("utterance")[same].to_numpy().tolist() == wanted
    assert found.trial is not None and set(found.trial.uar["arm"]) == set(TEST_ARMS)
    assert found.report.exists() and len(read_csv(found.folder / "augmented.csv")) == 32 + 8
    assert read_speech(found.folder / "augmented.csv").synthetic == 8


def test_real_speech(root: Path, shared: Path, hifigan: str) -> None:
    "Four speakers of EmoDB, then the same clips in the shape of nkululeko's sample tables."
    emodb = shared / "corpora" / "EmoDB"
    if not emodb.is_dir():
        pytest.skip("there is no ../shared/corpora/EmoDB")
    clips = read_corpus("EmoDB", emodb)
    four = clips[clips["speaker"].isin(["03", "08", "09", "10"])]
    four = four.groupby(["speaker", "emotion"]).head(2)
    write_csv(four, root / "emodb.csv")
    real = augment(root / "emodb.csv", root / "emodb", Request(1, hifigan), SMOKE, log=quiet)
    assert real.trial is not None and real.trial.uar["speakers"].eq(4).all()
    assert not len(real.speech.rejected) and real.trial.uar["utterances"].eq(len(four)).all()
    assert len(read_csv(root / "emodb" / "augmented.csv")) == len(four) + 4

    rows = [f"{os.path.relpath(r.path, emodb)},{NOUNS[r.emotion]},{r.speaker},{r.gender},german"
            for r in four.itertuples()]
    bad = ["wav/nothere.wav,anger,03,male,german", "wav/x.wav,disgust,03,male,german",
           rows[0], "wav/y.wav,fear,03", "wav/z.wav,sadness,,female,german"]
    write_text(root / "nkululeko.csv", "\n".join(["file,emotion,speaker,gender,language",
                                                  *rows[:40], *bad, *rows[40:]]) + "\n")
    shape = read_speech(root / "nkululeko.csv", root=emodb)
    _, shape = prepare_speech(shape, SMOKE.features, 1)
    assert (len(shape.manifest), len(shape.rejected)) == (len(four), 5)
    joint = joint_table(shape, real.synthetic.table, root, "wav")
    assert joint.columns[-3:].tolist() == ["language", "own_label", "synthetic"]
    assert joint["language"].value_counts()["german"] == len(four)
    assert [Path(f).name for f in shape.rejected["file"] if f.endswith("nothere.wav")]
