"""Augmenting a reader's own corpus: killed runs, faulty tables, hostile names, real speech."""
import csv
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from forked import Process

from emodiff.augment.cost import TEST_ARMS
from emodiff.augment.delivery import deliver_way, joint_table
from emodiff.augment.nested import (
    GROUPS,
    PAIRS,
    WayTrial,
    advise_way,
    best_way,
    confirm,
    inner_gains,
    weigh,
)
from emodiff.augment.report import Augmented
from emodiff.augment.run import augment
from emodiff.augment.source import Request, prepare_speech, read_speech, standin_csv
from emodiff.augment.way_cost import count_ways, way_cost
from emodiff.augment.ways import BOTH, NOTHING, REPETITION, WAYS, chosen_ways, combination
from emodiff.base.core import data_dir, digest, error_message, home, runs_dir, write_text
from emodiff.base.settings import EMOTIONS, load_preset, replace
from emodiff.generator.vocoder import write_wav
from emodiff.pages.html import fill
from emodiff.recognition.audit import leak_audit
from emodiff.speech.corpora import read_corpus
from emodiff.speech.features import load_audio
from emodiff.speech.segments import load_segments
from emodiff.speech.tables import read_csv, write_csv

FEW = {"training": {"steps": 2, "warmup": 1}, "sampling": {"steps": 2}, "classifier": {"steps": 2}}
SMOKE = load_preset("smoke", **FEW)  # how good anything becomes is not asked here
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
            f"Request(per_emotion=2, vocoder=sys.argv[3]), load_preset('smoke', **{FEW}), "
            "{'fear': ''})")
    prompts = data_dir() / "cache" / "prompts"  # embedded once is enough for a test
    shutil.copytree(prompts, root / "home2" / prompts.relative_to(home()))
    monkeypatch.setenv("EMODIFF_HOME", str(root / "home2"))
    victim, end = Process(["-c", code, str(table), str(second), hifigan]), time.monotonic() + 120
    while not (second / "augmented.csv").exists() and time.monotonic() < end:
        assert victim.poll() is None, victim.err.read_text()
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
             (table, root / "new", {"per_emotion": -1}), (table, root / "new", {"kind": "mp3"}),
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


def made_up_ways(
    better: dict[str, float],  # way -> what it adds to the chance of being right
    seed: int = 0,
    ways: tuple[str, ...] = ("speed", "VTLP", "noise", "SpecAugment", "mixup"),
    n: int = 24,  # utterances of a speaker
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    "Predictions of the inner and outer folds of nine speakers, and the speakers' groups."
    rng, groups = np.random.default_rng(seed), {f"s{i}": i % GROUPS for i in range(9)}
    level = {s: rng.normal(0.5, 0.06) for s in groups}

    def rows(folds: dict[str, tuple[int, ...]], seeds: int) -> pd.DataFrame:
        "Every way's predictions of the speakers that each fold leaves out."
        names = [(fold, way, k, s) for fold, out in folds.items()
                 for way in (NOTHING, REPETITION, *ways) for k in range(seeds)
                 for s, g in groups.items() if g in out]
        table = pd.DataFrame(names, columns=["fold", "arm", "seed", "speaker"])
        chance = [level[s] + better.get(way, 0) + rng.normal(0, 0.04) for _, way, _, s in names]
        table = table.loc[table.index.repeat(n)].reset_index(drop=True)
        truth = rng.integers(0, 4, len(table))
        right = rng.random(len(table)) < np.repeat(chance, n)
        found = np.where(right, truth, (truth + rng.integers(1, 4, len(table))) % 4)
        made = table["arm"].isin(["synthetic", BOTH])
        return table.assign(corpus="c", recogniser="CNN-BLSTM", group=0,
                            generator=np.where(made, table["seed"], -1),
                            emotion=np.array(EMOTIONS)[truth], predicted=np.array(EMOTIONS)[found])

    inner = rows({f"{a}+{b}": (a, b) for a, b in PAIRS}, 1)
    return inner, rows({str(g): (g,) for g in range(GROUPS)}, 3), groups


def test_the_winner_of_a_comparison_where_nothing_helps_is_no_winner() -> None:
    "The best of the inner gains is too good, the confirmed gain is not, and the advice says so."
    ways, inner, found = chosen_ways(["speed", "VTLP", "noise", "SpecAugment", "mixup"]), [], []
    for seed in range(16):
        first, second, groups = made_up_ways({}, seed)
        choices = [best_way(row, ways) for _, row in inner_gains(first, groups).iterrows()]
        inner.append(np.mean([c.gain for c in choices]))
        found.append(confirm(second, choices).iloc[0])
    gains = np.array([row["gain"] for row in found])
    error = gains.std(ddof=1) / len(gains) ** 0.5
    assert abs(gains.mean()) < 2.5 * error  # unbiased
    assert np.mean(inner) > 4 * error  # what would have been reported without
    assert sum(row["verdict"] == "supported" for row in found) <= 2  # of 16; 0.4 are expected
    assert sum(row["low"] <= 0 <= row["high"] for row in found) >= 13
    advice = advise_way(weigh(*made_up_ways({}, 0), ways))
    assert advice.verdict == "do not use it" and advice.sentence.startswith("No help was found")


def test_what_was_planted_is_found_and_said() -> None:
    ways = chosen_ways(["speed", "noise", "synthetic"])
    names = ("speed", "noise", "synthetic", BOTH)

    def advice(better: dict[str, float]) -> WayTrial:
        "What comes of the ways; many utterances, so that it is sure."
        return weigh(*made_up_ways(better, 1, names, n=120), ways)

    alone = advice({"speed": 0.12, BOTH: 0.12})
    assert alone.way.name == "speed" and {c.way for c in alone.choices} == {"speed"}
    said = advise_way(alone).sentence
    assert re.match(r"Speed between 0\.8 and 1\.2: \+1\d\.\d ± \d\.\d points of UAR on 9 unseen "
                    r"speakers; synthetic speech .* adds nothing", said)
    together = advice({"speed": 0.12, "synthetic": 0.05, BOTH: 0.25})
    assert together.way.name == "synthetic + speed" and " adds +1" in advise_way(together).sentence
    harm = advice({"speed": -0.1, "noise": -0.1, "synthetic": -0.1, BOTH: -0.1})
    assert harm.way.name == NOTHING and "no way gains" in advise_way(harm).sentence
    copies = advice({"synthetic": 0.12, REPETITION: 0.12, BOTH: 0.12})
    assert copies.way.name == NOTHING  # no more than repeating the real speech brings


@pytest.fixture(scope="module")
def compared(root: Path, table: Path, hifigan: str) -> Augmented:
    "Ways compared, after a first try that was stopped before the outer tests."
    asked = table, root / "ways", Request(2, hifigan, ways=("speed", "synthetic")), SMOKE
    lines: list[str] = []

    def stop(line: str) -> None:
        "As a reader's Ctrl-C would."
        lines.append(line)
        if "outer speakers" in line and line.startswith("["):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        augment(*asked, {"fear": ""}, log=stop)
    before = {p: p.stat().st_mtime_ns for p in runs_dir().glob("*/*/run.json")}
    assert not (root / "ways" / "report.html").exists()
    known = dict.fromkeys(("step", "sample", "wave", "fit", "cell", "judge", "hear",
                           "generator"), 0.1)
    with pytest.MonkeyPatch.context() as patch:  # one trial of this machine is enough
        patch.setattr("emodiff.augment.run.way_rates", lambda *_: known)
        done = augment(*asked, {"fear": ""}, log=quiet)
    after = {p: p.stat().st_mtime_ns for p in runs_dir().glob("*/*/run.json")}
    assert before.items() <= after.items() and any("judges" in str(p) for p in before)
    return done


def test_the_estimate_counts_what_will_be_done(whole: pd.DataFrame) -> None:
    "A frozen model's hearing counts where one is named; synthetic delivery is said beside."
    ways, rates = chosen_ways(["speed", "synthetic"]), {
        "step": 0.1, "sample": 0.1, "wave": 1.0, "fit": 0.01, "cell": 0.1, "judge": 0.1,
        "hear": 1.0, "generator": 8.0}
    named = replace(SMOKE, protocol=replace(SMOKE.protocol, frozen="a model"))
    plain, frozen = (way_cost(count_ways(whole, ways, 8, s), rates, s).set_index("stage")
                     for s in (SMOKE, named))
    assert count_ways(whole, ways, 8, SMOKE).heard == 0
    assert frozen["seconds"]["choice"] > 2 * plain["seconds"]["choice"]
    assert plain["seconds"]["delivery"] < 1 and "more" in plain["what"]["delivery"]
    assert "more" not in way_cost(count_ways(whole, chosen_ways(["speed"]), 8, SMOKE), rates,
                                  SMOKE)["what"].str.cat()


def test_ways_are_compared_on_speakers_that_nothing_has_met(compared: Augmented) -> None:
    trial, everyone = compared.ways, set(compared.real.table["speaker"])
    assert trial is not None and len(trial.generators) == 6
    assert all(len(heard_by(key)) == 2 for key in trial.generators)  # of four
    cnn = trial.outer[trial.outer["recogniser"] == "CNN-BLSTM"]
    assert leak_audit(cnn).empty and set(cnn["speaker"]) == everyone
    assert set(trial.ranking["way"]) == {REPETITION, "speed", "synthetic", BOTH}
    assert set(trial.inner["recogniser"]) == {"CNN-BLSTM", "linear"}
    numbers = json.loads((compared.folder / "results.json").read_text("utf-8"))
    assert numbers["advice"] == compared.advice.sentence and len(numbers["ranking"]) == 4
    page, text = Outside(), compared.report.read_text("utf-8")
    page.feed(text)
    assert not page.fetched and "inner speakers" in text


def test_the_recommended_way_is_delivered_as_sound(
    root: Path, compared: Augmented, hifigan: str,
) -> None:
    "Whatever was recommended: speed and synthetic speech together, then a way without sound."
    speech, real = compared.speech, compared.real
    both = combination(WAYS["speed"], WAYS["synthetic"])
    request = Request(1, hifigan, database=True)
    rows, made = deliver_way(root / "both", speech, real, both, speech.manifest[:0], SMOKE, request)
    assert made is not None and len(rows) == 8
    table = pd.read_csv(root / "both" / "augmented.csv", dtype=str, keep_default_na=False)
    kinds = table["way"].str.split().str[0].value_counts().to_dict()
    assert kinds == {"real": 32, "speed": 4, "synthetic": 4}
    for row in table[table["way"].str.startswith("speed")].itertuples():
        whole = load_audio(row.source, SMOKE.features)
        factor = float(row.way.split()[1])
        assert abs(soundfile.info(row.file).frames - len(whole) / factor) < 9
    again = read_speech(root / "both" / "augmented.csv")
    assert again.synthetic == 8 and len(again.manifest) == 32 and again.extra is None
    database = read_speech(root / "both")
    assert database.synthetic == 8 and len(database.manifest) == 32
    rows, made = deliver_way(root / "mask", speech, real, WAYS["SpecAugment"], speech.manifest[:0],
                             SMOKE, Request(1))
    assert made is None and not len(rows) and not (root / "mask" / "audio").exists()


def test_where_no_advice_is_possible_one_sentence_says_why(
    root: Path, whole: pd.DataFrame,
) -> None:
    two = whole[whole["speaker"].isin(sorted(whole["speaker"].unique())[:2])]
    first = whole["speaker"].iloc[0]
    lone = whole[(whole["emotion"] != "sad") | (whole["speaker"] == first)]
    asked = Request(1, ways=())
    for name, rows, word in (("two", two, "2 speakers"), ("lone", lone, "sad")):
        write_csv(rows, root / f"{name}.csv")
        said = error_message(augment, root / f"{name}.csv", root / f"{name}-out", asked, SMOKE,
                             log=quiet)
        assert word in said and "--ways synthetic" in said and "\n" not in said
    nobody = whole[["path", "emotion"]].rename(columns={"path": "file"})
    nobody.to_csv(root / "nobody.csv", index=False)
    said = error_message(augment, root / "nobody.csv", root / "nobody-out", asked, SMOKE, log=quiet)
    assert "speaker" in said and "\n" not in said
    assert not list(root.glob("*-out"))

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
    made = augment(root / "hostile.csv", root / "hostile",
                   Request(1, hifigan, test=False), SMOKE, log=quiet)
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
    found = augment(root / "database", root / "from-database",
                    Request(2, hifigan, test=False), SMOKE, {"boredom": ""}, log=quiet)
    assert found.speech.skipped == 1 and len(found.speech.rejected) == 1
    assert "gone.wav" in found.speech.rejected["file"].iloc[0]
    same = ["utterance", "speaker", "emotion", "gender", "text"]
    wanted = whole.sort_values("utterance")[same].to_numpy().tolist()
    assert found.speech.manifest.sort_values("utterance")[same].to_numpy().tolist() == wanted
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
    real = augment(root / "emodb.csv", root / "emodb", Request(1, hifigan, test=False), SMOKE,
                   log=quiet)
    assert not len(real.speech.rejected) and set(real.real.table["speaker"]) == set(four["speaker"])
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
    assert joint.columns[-5:].tolist() == ["language", "own_label", "way", "source", "synthetic"]
    assert joint["language"].value_counts()["german"] == len(four)
    assert [Path(f).name for f in shape.rejected["file"] if f.endswith("nothere.wav")]
