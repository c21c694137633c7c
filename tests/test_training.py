"""Trainings survive kills, damaged checkpoints and full disks."""
import json
import re
import resource
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from forked import run_python
from safetensors.torch import save_file
from stripes import KILLER, stripes

from emodiff.base.cache import add_sum
from emodiff.base.core import EmodiffError
from emodiff.base.settings import load_preset
from emodiff.generator import training
from emodiff.generator.checkpoints import (
    checkpoint_paths,
    load_network,
    read_config,
    read_tensors,
    write_config,
    write_tensors,
)
from emodiff.generator.likelihood import LossSecondMoment
from emodiff.generator.sampling import Generator, load_generator
from emodiff.generator.training import train_generator
from emodiff.speech.segments import save_segments

SEGMENTS = stripes(24)
SHORT = load_preset("smoke", training=dict(steps=6, batch=4, checkpoint_every=2))
LONGER = load_preset("smoke", training=dict(steps=8, batch=4, checkpoint_every=2))


@pytest.fixture(autouse=True)
def one_thread(home: Path) -> None:
    "A home of its own, and sums in one order."
    torch.set_num_threads(1)


def assert_same(one: Path, other: Path) -> None:
    "The bits of two generators."
    for name in ("model.safetensors", "trained_on.csv", "history.csv", "config.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_bad_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.arange(5), "b": torch.ones(3, dtype=torch.bfloat16)}, {})
    good = path.read_bytes()
    later = json.dumps(add_sum({"format": 99}))
    save_file({"a": torch.zeros(2)}, path, metadata={"emodiff": later})
    other = path.read_bytes()
    torch.save({"a": 1}, path)
    pickled = path.read_bytes()
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    for bad, word in ((other, "format 99"), (pickled, "pickle"), (good[:40], "damaged"),
                      (good[:-4], "damaged"), (flipped, "checksum"), (b"", "damaged")):
        path.write_bytes(bad)
        with pytest.raises(EmodiffError, match=word):
            read_tensors(path)
    path.unlink()
    with pytest.raises(EmodiffError, match="cannot read"):
        read_tensors(path)


def test_folders_that_hold_no_generator(tmp_path: Path) -> None:
    with pytest.raises(EmodiffError, match=r"holds no config\.json"):
        Generator.from_pretrained(tmp_path)
    torch.save({}, tmp_path / "model.pt")
    with pytest.raises(EmodiffError, match=r"model\.pt is a pickle"):
        Generator.from_pretrained(tmp_path)
    for text in ("{", "[]", '{"a": 1}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(EmodiffError, match="damaged"):
            load_network(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(add_sum({"format": 99})))
    with pytest.raises(EmodiffError, match="format 99"):
        load_network(tmp_path)
    with pytest.raises(EmodiffError, match="neither a generator's folder nor"):
        Generator.from_pretrained("no/such-generator", local_files_only=True)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    folder = train_generator(SEGMENTS, SHORT, tmp_path / "g")
    config = read_config(folder)
    config["settings"]["denoiser"]["channels"] *= 2
    write_config(folder, config)
    with pytest.raises(EmodiffError, match="weights do not fit"):
        load_network(folder)


def test_saved_and_loaded_again(tmp_path: Path) -> None:
    trained = load_generator(train_generator(SEGMENTS, SHORT, tmp_path / "g"))
    trained.save_pretrained(tmp_path / "copy")
    again = Generator.from_pretrained(tmp_path / "copy")
    files = {k: v for k, v in trained.config["files"].items() if k != "heard.safetensors"}
    wanted = {**trained.config, "files": files}  # patches of what it heard are not passed on
    assert again.config == wanted and again.settings == SHORT
    for a, b in zip(trained.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(a, b)
    for name in ("trained_on.csv", "history.csv", "README.md"):
        assert (tmp_path / "copy" / name).read_text() == (tmp_path / "g" / name).read_text()


@pytest.mark.filterwarnings("ignore:no vocoder named")
def test_the_lines_of_the_model_card_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    "Of a new generator, and of the one that the project ships."
    train_generator(SEGMENTS, SHORT, tmp_path / "new")
    shutil.copytree(ROOT / "data" / "pretrained" / "demo", tmp_path / "shipped")
    for name in ("new", "shipped"):
        card = (tmp_path / name / "README.md").read_text("utf-8")
        monkeypatch.chdir(tmp_path / name)
        made: dict = {}
        for text in re.findall(r"```python\n(.*?)```", card, re.S):
            exec(text, made)
        assert made["speech"].mels.shape == (1, 80, 256) and Path("speech.wav").stat().st_size > 44


def test_killed_again_and_again(tmp_path: Path) -> None:
    save_segments(SEGMENTS, tmp_path / "segments")
    done = run_python("-c", KILLER, tmp_path, "4", "generator")
    assert "generator killed 4 times" in done.stdout, done.stderr[-1000:]
    alone, killed = (tmp_path / "generator" / name for name in ("alone", "killed"))
    assert_same(alone, killed)
    alone, killed = (read_tensors(checkpoint_paths(f)[-1])[0] for f in (alone, killed))
    assert all(torch.equal(alone[k], killed[k]) for k in alone | killed)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    reference = train_generator(SEGMENTS, SHORT, tmp_path / "reference")
    cut = train_generator(SEGMENTS, SHORT, tmp_path / "cut")
    (cut / "config.json").unlink()
    newest = checkpoint_paths(cut)[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="is damaged.*from the one before"):
        train_generator(SEGMENTS, SHORT, cut)
    assert_same(reference, cut)


def test_another_trainings_folder_is_refused(tmp_path: Path) -> None:
    folder = train_generator(SEGMENTS, SHORT, tmp_path / "g")
    with pytest.raises(EmodiffError, match="holds a generator made with other settings"):
        train_generator(SEGMENTS, LONGER, folder)
    (folder / "config.json").unlink()  # now there are checkpoints only
    with pytest.raises(EmodiffError, match="was made with other settings or segments"):
        train_generator(SEGMENTS, LONGER, folder)
    (tmp_path / "file").write_text("")
    with pytest.raises((EmodiffError, OSError)):
        train_generator(SEGMENTS, SHORT, tmp_path / "file" / "folder")


def test_a_full_disk_leaves_no_half_file(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))  # as with 1 MiB left
    try:
        with pytest.raises(EmodiffError):
            train_generator(SEGMENTS, SHORT, tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "full" / "checkpoints").iterdir())
    train_generator(SEGMENTS, SHORT, tmp_path / "full")  # and with space it goes on


def test_a_loss_that_is_not_a_number_stops_the_training(tmp_path: Path) -> None:
    wild = load_preset("smoke", training=dict(steps=60, batch=4, checkpoint_every=1, lr=1e18,
                                              clip=0.0))
    with pytest.raises(EmodiffError, match=r"loss is not a number.*last good checkpoint"):
        train_generator(SEGMENTS, wild, tmp_path / "wild")


def test_a_mel_that_is_not_a_number_is_named(tmp_path: Path) -> None:
    broken = stripes(8)
    broken.mels[3, 0, 0] = np.nan
    with pytest.raises(EmodiffError, match=r"segment 3 \(u003\)"):
        train_generator(broken, SHORT, tmp_path / "g")
    with pytest.raises(EmodiffError, match="no segments to train on"):
        train_generator(SEGMENTS.take([]), SHORT, tmp_path / "g")


@pytest.mark.parametrize("changes", [dict(batch=5, accumulate=2), dict(ema=1.0), dict(steps=0),
                                     dict(validate=1.5)])
def test_numbers_that_do_not_fit(changes: dict) -> None:
    with pytest.raises(EmodiffError, match="training"):
        load_preset("smoke", training=changes)


@pytest.mark.parametrize("diffusion, more", [
    (dict(loss="vlb"), {}), (dict(loss="mse", variance="fixed_small"), {}),
    (dict(predict="eps"), dict(precision="bf16")), (dict(predict="x0"), {})])
def test_every_loss_and_bf16(tmp_path: Path, diffusion: dict, more: dict) -> None:
    settings = load_preset("smoke", diffusion=diffusion,
                           training=dict(steps=2, batch=4, checkpoint_every=1, **more))
    folder = train_generator(SEGMENTS, settings, tmp_path / "g")
    assert np.isfinite(pd.read_csv(folder / "history.csv").loss).all()


def test_vlb_draws_timesteps_by_importance(tmp_path: Path) -> None:
    "Once each of ten steps was seen ten times, they are no longer drawn alike."
    vlb = load_preset("smoke", diffusion=dict(loss="vlb", steps=10), sampling=dict(steps=6),
                      training=dict(steps=40, batch=8, checkpoint_every=40))
    folder = train_generator(SEGMENTS, vlb, tmp_path / "g")
    saved, _ = read_tensors(checkpoint_paths(folder)[-1])
    moments = LossSecondMoment(10)
    moments.load({name: saved[f"rng.terms.{name}"] for name in ("history", "count")})
    assert moments.count.min() >= 10 and moments.probabilities().max() > 2 / 10
    assert np.isfinite(pd.read_csv(folder / "history.csv").loss).all()


def test_the_best_checkpoint_is_kept(tmp_path: Path) -> None:
    settings = load_preset("smoke", training=dict(steps=8, batch=4, checkpoint_every=2))

    def first_is_best(job, state, held, seed):
        if state.step == 2:
            state.best = {"step": 2, "value": 0.0}

    with mock.patch.object(training, "_record_quality", first_is_best):
        folder = train_generator(SEGMENTS, settings, tmp_path / "g")
    assert [p.stem[-1] for p in checkpoint_paths(folder)] == ["2", "6", "8"]
