"Any label set: 2 to 12 emotions, in any language, from a table to a page."

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner
from voice import babble, tiny

from emodiff.app.cli import app
from emodiff.base.core import EmodiffError, error_message
from emodiff.base.settings import EMOTIONS, load_preset, replace
from emodiff.generator.gan_training import sample_gan, train_gan
from emodiff.generator.sampling import load_generator, synthesise
from emodiff.generator.training import train_generator
from emodiff.pages.figures import confusion_rates, plot_confusions, plot_mel_pairs
from emodiff.pages.listening import listening_page
from emodiff.recognition.arms import chosen_arms
from emodiff.recognition.cells import within_cells
from emodiff.recognition.classifier import emotions_of, made_up_segments, uar
from emodiff.recognition.fidelity import collapse_check
from emodiff.recognition.folds import loso_folds
from emodiff.recognition.linear import linear_predictions
from emodiff.recognition.plan import run_plan
from emodiff.recognition.similarity import similarity_table
from emodiff.recognition.statistics import CHANCE, folds_table, gain, runs_table, summarise
from emodiff.speech.corpora import read_corpus
from emodiff.speech.segments import Segments, concat, labels_of, load_segments, save_segments
from emodiff.speech.tables import check_emotions, read_csv, read_labelled

SMOKE = load_preset("smoke", training={"steps": 3}, classifier={"steps": 3},
                    protocol={"arms": ("real", "real + synthetic"), "resamples": 50})
SIX = ("Ekel", "Freude", "Wut", "bored", "neutral", "радость")  # sorted, as Python sorts
SETS = (("Freude", "Wut"), SIX, tuple(sorted(f"класс {i}" for i in range(12))))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A CSV of six emotions and four speakers: 48 rows."
    folder = tmp_path_factory.mktemp("six")
    rows = ["file,speaker,gender,emotion,text"]
    for s in range(4):
        for e, emotion in enumerate(SIX):
            for take in range(2):
                wave = babble(0.6, 16000, 100 + 20 * s + 5 * e, take, silence=0)
                soundfile.write(folder / f"s{s}e{e}t{take}.wav", wave, 16000)
                rows.append(f"s{s}e{e}t{take}.wav,S{s},{'fm'[s % 2]},{emotion},Line {take}.")
    (folder / "six.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return folder / "six.csv"


@pytest.mark.parametrize("emotions", SETS, ids=len)
def test_recognisers_and_tables_have_as_many_classes(home: Path, emotions: tuple[str, ...]) -> None:
    "Predictions, recalls, gains, similarity and figures of 2, 6 and 12 classes."
    real, made = (made_up_segments(96, seed, emotions=emotions) for seed in (0, 1))
    pools = {"real": real, "group 0": made, "group 1": made}
    cells = within_cells(loso_folds(real.table, SMOKE.protocol)[:1], {0: 24, 1: 24}, SMOKE.protocol,
                         chosen_arms(["real", "real + synthetic"]))
    found, judged = run_plan(cells, pools, SMOKE), linear_predictions(cells, pools)
    assert emotions_of(found) == emotions_of(judged) == emotions == real.emotions
    assert set(found["predicted"]) <= set(emotions) and uar(judged) > 0.5 > 1 / len(emotions) - 0.1
    table = summarise(found, SMOKE.protocol)
    assert [c for c in table if c.startswith("recall_")] == [f"recall_{e}" for e in emotions]
    assert folds_table(runs_table(found)).shape[0] == 2 and table["uar"].notna().all()
    perfect = judged.assign(predicted=judged["emotion"])
    assert np.isclose(gain(perfect, "real", CHANCE, 50)[0], 100 - 100 / len(emotions))
    assert set(emotions) <= set(similarity_table(real, made))
    assert collapse_check(real, made, SMOKE)["emotion"].tolist() == list(emotions)
    rates = confusion_rates(found)
    assert len(rates) == 2 * len(emotions) ** 2
    assert len(plot_confusions(rates).axes[0].get_xticklabels()) == len(emotions)


def test_six_emotions_from_a_table_to_a_page(home: Path, table: Path) -> None:
    "Every row is used; segments, generator, samples, predictions, figure and page have the six."
    found = read_labelled(table)
    assert check_emotions(found) == SIX and len(found.manifest) == 48 and not found.rejected
    done = CliRunner().invoke(app, ["prepare", str(table), "--out", str(home / "segments")])
    assert done.exit_code == 0 and "8 радость" in done.stdout
    real = load_segments(home / "segments")
    assert real.emotions == SIX and len(real) == 48 and real.take([0]).emotions == SIX
    generator = load_generator(train_generator(real, SMOKE, home / "generator"))
    assert generator.settings.emotions == SIX and list(generator.emotions) == list(SIX)
    plan = real.table[["corpus", "speaker", "gender", "emotion", "text"]].iloc[::2]
    made = synthesise(generator, plan.reset_index(drop=True), SMOKE.sampling)
    assert made.emotions == SIX and (labels_of(made) == labels_of(real)[::2]).all()
    assert load_segments(save_segments(made, home / "made")).emotions == SIX
    cells = within_cells(loso_folds(real.table, SMOKE.protocol)[:1], {0: 20, 1: 20}, SMOKE.protocol,
                         chosen_arms(["real + synthetic"]))
    predictions = run_plan(cells, {"real": real, "group 0": made, "group 1": made}, SMOKE)
    assert emotions_of(predictions) == SIX
    assert [c for c in summarise(predictions, SMOKE.protocol) if "радость" in c] == [
        "recall_радость"]
    assert len(plot_mel_pairs(real, made)[0].axes) == 13  # and a colour bar
    page = listening_page(home / "page", real, made, "", SMOKE, speakers=1).read_text("utf-8")
    assert all(emotion in page for emotion in SIX)


def test_gans_of_six_emotions_say_what_they_know(home: Path) -> None:
    "A conditional GAN and a CycleGAN; an emotion that neither has met; no neutral speech."
    real = made_up_segments(24, emotions=SIX)
    plan = real.table[["corpus", "speaker", "gender", "emotion", "text"]].iloc[:3]
    for kind in ("cGAN", "CycleGAN"):
        folder = train_gan(kind, real, SMOKE, home / kind)
        assert sample_gan(folder, plan, SMOKE, source=real).emotions == SIX
        message = error_message(sample_gan, folder, plan.assign(emotion="furious"), SMOKE)
        assert "'furious'" in message and "радость" in message
    two = made_up_segments(8, emotions=("Freude", "Wut"))
    assert "neutral" in error_message(train_gan, "CycleGAN", two, SMOKE, home / "two")


def test_labels_merge_cut_and_are_told(table: Path) -> None:
    "--map merges, --emotions cuts, and what cannot be learnt is one sentence."
    merged = read_labelled(table, {"Wut": "anger", "Freude": "joy", "радость": "happy", "Ekel": ""})
    assert merged.emotions == ("angry", "bored", "happy", "neutral") and merged.skipped == 8
    assert merged.manifest["emotion"].value_counts()["happy"] == 16
    few = read_labelled(table, emotions=("wut", "радость"))
    assert few.emotions == ("Wut", "радость") and few.skipped == 32 and not few.rejected
    four = read_labelled(table, {"Wut": "angry"}, emotions=EMOTIONS)
    assert four.emotions == EMOTIONS and set(four.manifest["emotion"]) == {"angry", "neutral"}
    rows, last = table.read_text("utf-8"), "s3e5t1.wav,S3,m,"
    odd = rows.replace(f"{last}радость", f"{last}рад")
    table.with_name("odd.csv").write_text(odd, "utf-8")
    assert "'рад' has 1 usable row" in error_message(
        check_emotions, read_labelled(table.with_name("odd.csv")))
    many = [line.replace(line.split(",")[3], f"label {i}", 1) if i else line
            for i, line in enumerate(rows.splitlines())]
    table.with_name("many.csv").write_text("\n".join(many), "utf-8")
    assert "2 to 12" in error_message(check_emotions, read_labelled(table.with_name("many.csv")))
    done = CliRunner().invoke(app, ["prepare", str(table), "--out", "x", "--dry-run",
                                    "--emotions", "Wut,Ekel"])
    assert "8 Ekel, 8 Wut" in done.stdout and "радость" not in done.stdout


def test_corpora_keep_their_own_emotions_when_asked(tmp_path: Path) -> None:
    "CREMA-D's six and EmoDB's seven; the four by default."
    for code in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"):
        tiny(tmp_path / "CREMA" / f"1001_DFA_{code}_XX.wav")
    with pytest.warns(UserWarning, match="not as published"):
        six = read_corpus("CREMA-D", tmp_path / "CREMA", emotions=())
        four = read_corpus("CREMA-D", tmp_path / "CREMA")
    assert sorted(six["emotion"]) == sorted([*EMOTIONS, "disgusted", "fearful"])
    assert sorted(four["emotion"]) == list(EMOTIONS)
    for letter in "WFNTLEA":
        tiny(tmp_path / "EmoDB" / f"03a01{letter}a.wav")
    with pytest.warns(UserWarning, match="not as published"):
        seven = read_corpus("EmoDB", tmp_path / "EmoDB", emotions=())
    assert sorted(seven["emotion"]) == sorted([*EMOTIONS, "bored", "disgusted", "fearful"])


def test_label_sets_of_parts_and_wholes() -> None:
    "The four where nothing else is said; a union where label sets meet; others are told."
    four, two = made_up_segments(8), made_up_segments(8, emotions=("Freude", "Wut"))
    assert Segments(four.mels[:2], four.table[:2]).emotions == EMOTIONS == concat([four]).emotions
    assert concat([four, two]).emotions == tuple(sorted([*EMOTIONS, "Freude", "Wut"]))
    assert "'Freude' is none of angry" in error_message(labels_of, two, EMOTIONS)
    with pytest.raises(EmodiffError, match="at least 2"):
        replace(SMOKE, emotions=("sad",))


def test_old_checkpoints_are_of_the_four(home: Path, tmp_path: Path) -> None:
    "The shipped generator loads; what it never met is an error that lists what it knows."
    generator = load_generator("demo")
    config = json.loads((generator.folder / "config.json").read_text("utf-8"))
    assert generator.settings.emotions == EMOTIONS and set(generator.emotions) <= set(EMOTIONS)
    assert "settings" in config
    plan = tmp_path / "plan.csv"
    speaker = generator.speakers["speaker"].iloc[0]
    for emotion, who, known in (("furious", speaker, "sad"), ("SAD", "nobody", speaker)):
        plan.write_text(f"text,emotion,speaker\nHello.,{emotion},{who}\n", "utf-8")
        sample = ["sample", "demo", str(plan), "--out", str(tmp_path / "o"), "--dry-run"]
        refused = CliRunner().invoke(app, sample)
        assert refused.exit_code and known in str(refused.exception)
        assert CliRunner().invoke(app, [*sample, "--unknown"]).exit_code == 0


def test_numbers_may_be_labels(home: Path, table: Path) -> None:
    "'0' and '1' stay text on their way through caches and tables."
    real = made_up_segments(32, emotions=("0", "1"))
    cells = within_cells(loso_folds(real.table, SMOKE.protocol)[:1], {}, SMOKE.protocol,
                         chosen_arms(["real"]))
    for _ in range(2):  # made, then drawn from the cache
        assert set(run_plan(cells, {"real": real}, SMOKE)["emotion"]) == {"0", "1"}
    six = read_csv(table)
    assert len(six) == 48 and set(six["emotion"]) == set(SIX)
