"""GAN trainings survive kills, and what they make has not collapsed."""
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from forked import run_python
from stripes import KILLER, stripes

from emodiff.base.core import EmodiffError
from emodiff.base.settings import GANS, load_preset
from emodiff.generator import gan_training
from emodiff.generator.checkpoints import checkpoint_paths, read_config
from emodiff.generator.gan_training import cached_gan, sample_gan, train_gan
from emodiff.generator.training import validation_mask
from emodiff.recognition.classifier import CnnBlstm
from emodiff.recognition.fidelity import collapse_check, collapse_judges, passes_collapse_check
from emodiff.speech.segments import Segments, save_segments

REAL = stripes(96)
PLAN = REAL.table[["corpus", "speaker", "gender", "emotion", "text"]]
SHORT = load_preset("smoke", training=dict(steps=7, batch=4, checkpoint_every=2))
COMMON = dict(training=dict(steps=50, batch=8), classifier=dict(steps=40, batch=16, lr=5e-3))
TINY = load_preset("smoke", **COMMON, gan=dict(warmup=5, ema=0.9))
FILES = ("model.safetensors", "history.csv", "trained_on.csv", "config.json")


@pytest.fixture(autouse=True)
def one_thread(home: Path) -> None:
    "A home of its own, and sums in one order."
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def judges() -> list[CnnBlstm]:
    "What `collapse_check` trains on REAL where it is given no recognisers."
    torch.set_num_threads(1)
    return collapse_judges(REAL, TINY)


def interrupted(kind: str, folder: Path) -> Path:
    "A training that its user stops at the sixth step."
    one_step = gan_training._gan_step

    def stop_at_six(job, state):
        if state.step == 5:
            raise KeyboardInterrupt
        one_step(job, state)

    with mock.patch.object(gan_training, "_gan_step", stop_at_six), \
            pytest.raises(KeyboardInterrupt):
        train_gan(kind, REAL, SHORT, folder)
    return folder


def assert_same(one: Path, other: Path) -> None:
    for name in FILES:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize("kind", GANS)
def test_interrupted_and_gone_on_with(kind: str, tmp_path: Path) -> None:
    alone = train_gan(kind, REAL, SHORT, tmp_path / "alone")
    killed = interrupted(kind, tmp_path / "killed")
    assert [p.stem for p in checkpoint_paths(killed)] == ["step-00000002", "step-00000004"]
    train_gan(kind, REAL, SHORT, killed)
    assert_same(alone, killed)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    alone = train_gan("cGAN", REAL, SHORT, tmp_path / "alone")
    killed = interrupted("cGAN", tmp_path / "killed")
    newest = checkpoint_paths(killed)[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="is damaged.*from the one before"):
        train_gan("cGAN", REAL, SHORT, killed)
    assert_same(alone, killed)


def test_killed_at_random_moments(tmp_path: Path) -> None:
    save_segments(REAL, tmp_path / "segments")
    done = run_python("-c", KILLER, tmp_path, "2", *GANS)
    for kind in GANS:
        assert f"{kind} killed 2 times" in done.stdout, done.stderr[-1000:]
        assert_same(tmp_path / kind / "alone", tmp_path / kind / "killed")


def test_held_out_utterances_are_never_trained_on(tmp_path: Path) -> None:
    "The CycleGAN starts from none of them either."
    part = load_preset("smoke", training=dict(steps=2, batch=4, validate=0.25))
    folder = train_gan("CycleGAN", REAL, part, tmp_path / "x")
    saw = pd.read_csv(folder / "trained_on.csv")
    held_out = (saw["part"] == "validation").to_numpy()
    assert held_out.tolist() == validation_mask(REAL.table, 0.25).tolist()
    assert read_config(folder)["segments"] == 72
    rows = gan_training._source_rows(REAL, PLAN, np.arange(len(PLAN)), folder)
    assert not held_out[rows].any() and (PLAN["emotion"][rows] == "neutral").all()
    assert (PLAN["speaker"].to_numpy() == REAL.table["speaker"].to_numpy()[rows]).all()


def test_what_goes_wrong_is_said_in_a_sentence(tmp_path: Path) -> None:
    def refused(match: str, function, *args, **kwargs) -> None:
        with pytest.raises(EmodiffError, match=match):
            function(*args, **kwargs)

    neutral = (REAL.table.emotion == "neutral").to_numpy()
    wild = load_preset("smoke", training=dict(steps=20, batch=4), gan=dict(lr=1e30))
    refused("loss is not a number", train_gan, "cGAN", REAL, wild, tmp_path / "wild")
    refused("unknown GAN", train_gan, "styleGAN", REAL, SHORT, tmp_path / "x")
    refused("neutral speech", train_gan, "CycleGAN", REAL.take(~neutral), SHORT, tmp_path / "x")
    refused("no segments", train_gan, "cGAN", REAL.take([]), SHORT, tmp_path / "x")
    single = load_preset("smoke", training=dict(batch=1))
    refused("at least 2", train_gan, "cGAN", REAL, single, tmp_path / "x")
    folder = train_gan("cGAN", REAL, SHORT, tmp_path / "cGAN")
    refused("speaker of this GAN", sample_gan, folder, PLAN.assign(speaker="nobody"), TINY)
    refused("no rows", sample_gan, folder, PLAN[:0], TINY)
    refused(r"config\.json", sample_gan, tmp_path, PLAN, TINY)
    cycle = train_gan("CycleGAN", REAL, SHORT, tmp_path / "CycleGAN")
    strange, synthetic = stripes(4, seed=1), Segments(REAL.mels, REAL.table.assign(synthetic=True))
    strange.table["utterance"] = "unknown"
    refused("give the segments that it was trained on", sample_gan, cycle, PLAN, TINY)
    for source in (strange, synthetic):
        refused("is no segment", sample_gan, cycle, PLAN, TINY, source=source)
    refused("no neutral segment", sample_gan, cycle, PLAN, TINY, source=REAL.take(~neutral))


def test_the_collapse_check_can_fail(judges: list[CnnBlstm]) -> None:
    "One sample per class has no diversity, shuffled labels have no recall; real speech passes."
    number = REAL.table.assign(row=np.arange(len(REAL)))
    first = number.groupby(["emotion", "speaker"])["row"].transform("first").to_numpy()
    copies = Segments(REAL.mels[first], REAL.table)
    shuffled = Segments(REAL.mels, REAL.table.assign(emotion=np.roll(REAL.table["emotion"], 1)))
    for failed in (copies, shuffled):
        assert not passes_collapse_check(collapse_check(REAL, failed, TINY, judges=judges))
    check = collapse_check(REAL, REAL, TINY)
    assert check.equals(collapse_check(REAL, REAL, TINY, judges=judges))
    assert passes_collapse_check(check) and np.allclose(check["diversity"], 1)


@pytest.mark.parametrize("kind", GANS)
def test_what_is_made_has_not_collapsed(kind: str, judges: list[CnnBlstm]) -> None:
    folder = cached_gan(kind, REAL, TINY, seed=1).folder
    made = sample_gan(folder, PLAN, TINY, seed=1, source=REAL)
    check = collapse_check(REAL, made, TINY, judges=judges)
    assert check["recall"].mean() > 0.5 and check["diversity"].min() > 0.25, check
    assert abs(made.mels).max() <= 1
    for mel, frames in zip(made.mels, made.table["frames"], strict=True):
        assert (mel[:, frames:] == -1).all()
    added = ["path", "utterance", "sample", "segment", "frames", "seconds", "synthetic"]
    assert made.table.columns.tolist() == [*PLAN.columns, *added]
    saw = pd.read_csv(folder / "trained_on.csv")
    assert set(saw["utterance"]) == set(REAL.table["utterance"])


def test_without_the_energy_distance_it_collapses(judges: list[CnnBlstm]) -> None:
    alone = load_preset("smoke", **COMMON, gan=dict(warmup=5, ema=0.9, energy=0.0))
    folder = cached_gan("cGAN", REAL, alone, seed=1).folder
    made = sample_gan(folder, PLAN, alone, seed=1)
    assert not passes_collapse_check(collapse_check(REAL, made, TINY, judges=judges))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA here")
def test_on_cuda(tmp_path: Path) -> None:
    folder = train_gan("CycleGAN", REAL, SHORT, tmp_path / "cuda", device="cuda")
    assert len(sample_gan(folder, PLAN, TINY, device="cuda", source=REAL)) == len(PLAN)
