"""Do the instruments tell what they claim to tell? Each is tried on what was planted."""
import sys
from pathlib import Path

import numpy as np
import pytest

from emodiff.base.core import error_message, rng_for
from emodiff.base.settings import load_preset
from emodiff.recognition.arms import chosen_arms
from emodiff.recognition.cells import within_cells
from emodiff.recognition.claims import table1_claims
from emodiff.recognition.classifier import uar
from emodiff.recognition.folds import loso_folds, unheard_utterances
from emodiff.recognition.linear import linear_predictions, with_judges
from emodiff.recognition.similarity import (
    blurred,
    frechet_at,
    mean_of_others,
    memorisation,
    one_mel,
    paired_mad,
    pooled_features,
    similarity_table,
)
from emodiff.recognition.statistics import summarise
from emodiff.speech.segments import Segments, concat, drop_repeats, prepare
from emodiff.speech.standins import load_corpus

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
from coverage import SIZES, coverage  # noqa: E402


@pytest.fixture(scope="module")
def recorded(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Segments:
    "EmoDB's Mels, of recorded speech; every third clip, to be quick."
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMODIFF_HOME", str(tmp_path_factory.mktemp("home")))
        settings = load_preset("open")
        rows = load_corpus("EmoDB", shared / "corpora", settings.standin)
        return drop_repeats(prepare(rows[::3], settings.features, jobs=1))


def changed(segments: Segments, mels: np.ndarray, **columns) -> Segments:
    "Segments with other Mels."
    return Segments(np.asarray(mels, np.float16), segments.table.assign(**columns))


def moved(segments: Segments, by: int) -> Segments:
    "Segments that begin some frames later."
    mels = np.full(segments.mels.shape, -1, np.float16)
    mels[:, :, by:] = segments.mels[:, :, :-by]
    return changed(segments, mels, frames=np.minimum(256, segments.table["frames"] + by))


def test_memorisation_knows_copies_from_new_speech(recorded: Segments) -> None:
    "Moved and noisy copies are copies; blurred unseen speech is not; variations lie between."
    held = unheard_utterances(recorded)
    training, unseen = recorded.take(~held), recorded.take(held)
    copies, rng = training.take(np.arange(0, len(training), 5)), rng_for("planted copies")
    noise = rng.normal(0, 0.1, copies.mels.shape)
    others = training.mels[rng.permutation(len(training))[: len(copies)]].astype(np.float32)
    ratio = {name: memorisation(speech, training, unseen) for name, speech in {
        **{f"moved by {n}": moved(copies, n) for n in (1, 4, 9, 20)},
        "noisy": changed(copies, copies.mels + noise),
        "varied": changed(copies, 0.75 * copies.mels + 0.25 * others),
        "blurred": blurred(unseen)}.items()}
    print({name: round(value, 2) for name, value in ratio.items()})
    assert max(ratio[f"moved by {n}"] for n in (1, 4, 9, 20)) < 0.5 and ratio["noisy"] < 0.35
    assert ratio["blurred"] > 0.85 > ratio["varied"] > ratio["noisy"]


def test_the_frechet_distance_does_not_hang_on_the_number_of_segments(recorded: Segments) -> None:
    "In each row of the table the same; real speech is nearest at every number."
    features = pooled_features(recorded)
    for n in (12, 40):
        itself, low, high = frechet_at(features, features, n)
        fog = frechet_at(features, pooled_features(blurred(recorded, 4)), n)
        assert low <= itself <= high < fog[0]


def test_no_claim_about_mad_is_won_by_a_constant_or_a_blur(recorded: Segments) -> None:
    "And the table shows how well they do."
    once = recorded.table.drop_duplicates("text").index
    lines = concat([recorded, recorded.take(np.asarray(once))])
    for fake in (one_mel(recorded), blurred(recorded)):
        judged = table1_claims(lines, fake)
        mads = judged[judged["measure"].eq("MAD") & (judged["section"] == "5.1")]
        assert not mads["verdict"].eq("supported").any(), mads
    table = similarity_table(recorded, recorded).set_index("compared with real")
    assert {"one Mel for every prompt", "mean of other speakers", "real, blurred",
            "real repetition"} <= set(table.index)
    change = table["change per frame (real = 1)"]
    assert change["synthetic"] == 1 and change["real, blurred"] < 0.7
    assert change["one Mel for every prompt"] < change["real, blurred"]


def test_a_mean_of_others_is_nearer_than_any_one_of_them(recorded: Segments) -> None:
    "Why the yardsticks are there."
    line = ("corpus", "emotion", "text")
    others = paired_mad(recorded, recorded, line, ("speaker",))["mad"].mean()
    assert paired_mad(recorded, mean_of_others(recorded))["mad"].mean() < others


@pytest.mark.parametrize("spread", [0.0, 2.0, 4.0])
def test_intervals_count_the_generators(spread: float) -> None:
    "The truth is inside in 95 % of experiments, whatever generators add; 3 standard errors of 400."
    found = coverage(SIZES["open"], spread, 400)
    assert 91.7 <= found["interval holds 0 (%)"] <= 98.3 and 1.7 <= found["p < 0.05 (%)"] <= 8.3


def test_intervals_that_do_not_know_the_generators_are_too_short() -> None:
    "One generator per group cannot show what another would give."
    assert coverage(SIZES["one generator"], 4.0, 200)["interval holds 0 (%)"] < 80


def test_the_linear_judge_hears_emotion(recorded: Segments) -> None:
    "On speakers whom it has not heard, and whatever arm it is trained on."
    protocol = load_preset("open", protocol={"seeds": 1, "fold_speakers": 5}).protocol
    arms = chosen_arms(["real", "duplicated real", "real + noise", "real + mixup"])
    cells = within_cells(loso_folds(recorded.table, protocol), {0: 0, 1: 0}, protocol, arms)
    judged = linear_predictions(cells, {"real": recorded, "duplicated": recorded})
    found = {arm: uar(rows) for arm, rows in judged.groupby("arm")}
    assert set(found) == {arm.name for arm in arms} and min(found.values()) > 0.4  # chance: 0.25
    doubled = judged[judged["arm"] == "duplicated real"]["predicted"].to_numpy()
    assert (doubled == judged[judged["arm"] == "real"]["predicted"].to_numpy()).mean() > 0.8


def test_judges_hear_words_and_emotion_in_recorded_speech(recorded: Segments, shared: Path) -> None:
    "Where their packages are installed; each where it is."
    from emodiff.recognition import judges

    if not judges.installed_judges():
        pytest.skip("no package of emodiff[judges] is installed")
    few = recorded.take(np.arange(0, len(recorded), 4))
    table = judges.judged_sound(few, {"seen": few}, load_preset("open"), shared / "hifigan",
                                english=False)
    heard = table.filter(like="emotion").to_numpy()
    assert (heard > 60).all()  # what it was trained on


def test_a_missing_judge_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    "In one sentence."
    from emodiff.recognition.judges import JUDGES, egemaps, heard_words, speaker_embeddings

    for package in JUDGES.values():
        monkeypatch.setitem(sys.modules, package, None)
    for ask in (egemaps, heard_words, speaker_embeddings):
        assert "needs the package" in error_message(ask, [np.zeros(16000, np.float32)])


def test_a_frozen_speech_model_is_a_third_recogniser_of_every_arm(
        recorded: Segments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    "A tiny random model hears every arm once, mixtures too; the tables show it beside the others."
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    from emodiff.recognition import judges
    from emodiff.recognition.experiments import further_judges

    monkeypatch.setenv("EMODIFF_HOME", str(tmp_path / "home"))
    tiny = Wav2Vec2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                          intermediate_size=16, conv_dim=(8,) * 7, num_conv_pos_embeddings=8,
                          num_conv_pos_embedding_groups=2)
    Wav2Vec2Model(tiny).save_pretrained(tmp_path / "model")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "model")
    few = recorded.take(np.arange(0, len(recorded), 6))
    settings = load_preset("smoke", protocol={"frozen": str(tmp_path / "model"),
                                              "fold_speakers": 5})
    arms = chosen_arms(["real", "duplicated real", "real + mixup"])
    folds = loso_folds(few.table, settings.protocol)
    cells = within_cells(folds, {0: 0, 1: 0}, settings.protocol, arms)
    heard, embed = [], judges.frozen_embeddings
    monkeypatch.setattr(judges, "load_vocoder", lambda *how: lambda log_mels: np.repeat(
        np.exp(log_mels).mean(1), 256, axis=1))  # loudness alone, to be quick
    monkeypatch.setattr(judges, "frozen_embeddings", lambda waves, *how: heard.append(
        len(waves)) or embed(waves, *how))
    for _ in range(2):
        judged = further_judges(cells, {"real": few, "duplicated": few}, settings)
    # real and duplicated speech sound the same; mixtures of each fold, in two versions
    assert heard == [len(few), *(2 * len(fold.train) for fold in folds)]
    table = with_judges(lambda p: summarise(p, settings.protocol), judged["linear"], judged)
    assert list(table["arm"]) == [arm.name for arm in arms]
    assert table[["linear_uar", "frozen_uar"]].notna().all(axis=None)
    assert np.allclose(table["uar"], table["linear_uar"])
    settings = load_preset("smoke", protocol={"fold_speakers": 5})
    assert set(further_judges(cells[:1], {"real": few}, settings)) == {"linear"}


def test_one_recogniser_per_seed_judges_all_variants(
        home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    "The same samples have the same fidelity: in chapter 03, in 06 and in the search."
    from emodiff.recognition import cells as module
    from emodiff.recognition.classifier import made_up_segments
    from emodiff.recognition.fidelity import fidelity, heard_emotions
    from emodiff.studies.ablation import make_study, usefulness

    trained, train = [], module.train_classifier
    monkeypatch.setattr(module, "train_classifier", lambda segments, *how: trained.append(
        len(segments)) or train(segments, *how))
    settings = load_preset("smoke", protocol={"seeds": 2, "jobs": 1})
    real, made = made_up_segments(48), made_up_segments(24, 1)
    noisy = changed(made, made.mels + rng_for("noisy").normal(0, 0.2, made.mels.shape))
    study = make_study(real, 24)
    speech = {"a": made, "b": noisy, "again": made}
    heard = heard_emotions(study.training, speech, settings).set_index("speech")
    assert trained == [len(study.training)] * 2  # two seeds, whatever number of variants
    assert (heard.loc["a"] == heard.loc["again"]).all()
    alone = heard_emotions(study.training, {"c": made}, settings).set_index("speech")
    assert (alone.loc["c"] == heard.loc["a"]).all()
    table = usefulness(study, speech, settings).set_index("variant")
    assert np.allclose(table["fidelity"], heard["fidelity (UAR %)"])
    assert table["linear_uar"].notna().all() and (
        table.loc["a", "linear_uar"] == table.loc["again", "linear_uar"])
    table = fidelity(real, made, study.unseen, settings, others={"again": made})
    assert table.set_index("speech")["fidelity (UAR %)"][["synthetic", "again"]].nunique() == 1
