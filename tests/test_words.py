"""Generators whose frames look at words: interrupted, loaded, sampled, refused."""
from pathlib import Path
from unittest import mock

import pytest
import torch
from stripes import stripes

from emodiff.base.core import EmodiffError
from emodiff.base.settings import load_preset
from emodiff.generator import training
from emodiff.generator.checkpoints import read_tensors
from emodiff.generator.sampling import load_generator
from emodiff.generator.training import cached_generator, train_generator
from emodiff.generator.words import WordsDenoiser
from emodiff.recognition.pools import cached_synthesis
from emodiff.speech.segments import Segments

FEW = load_preset("smoke", training=dict(steps=8, batch=4, checkpoint_every=3))


@pytest.fixture
def speech(home: Path) -> Segments:
    "Stripes that say one of two sentences."
    torch.set_num_threads(1)
    made = stripes(24)
    made.table["text"] = ["a test of stripes", "dogs are sitting"] * 12
    return made


def test_interrupted_it_is_the_generator_of_an_undisturbed_training(
        speech: Segments, tmp_path: Path) -> None:
    check = training._check_finite

    def stop_at_five(state, folder, rates):
        check(state, folder, rates)
        if state.step == 5:
            raise KeyboardInterrupt

    whole = train_generator(speech, FEW, tmp_path / "whole", words=True)
    with mock.patch.object(training, "_check_finite", stop_at_five), \
            pytest.raises(KeyboardInterrupt):
        train_generator(speech, FEW, tmp_path / "broken", words=True)
    left = [p.name for p in (tmp_path / "broken" / "checkpoints").iterdir()]
    assert left == ["step-00000003.safetensors"]
    broken = train_generator(speech, FEW, tmp_path / "broken", words=True)
    mine, theirs = (read_tensors(p / "model.safetensors")[0] for p in (whole, broken))
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_it_speaks_for_the_same_plan_as_a_plain_one(speech: Segments) -> None:
    made, plain = (cached_synthesis(speech, 4, FEW, words=words) for words in (True, False))
    assert made.generator.key == cached_generator(speech, FEW, words=True).key
    assert made.generator.key != plain.generator.key
    assert made.segments.table["text"].tolist() == plain.segments.table["text"].tolist()
    assert (made.segments.mels != plain.segments.mels).any()
    assert made.trained_on["utterance"].tolist() == plain.trained_on["utterance"].tolist()
    assert isinstance(load_generator(made.generator.folder).net, WordsDenoiser)
    assert not isinstance(load_generator(plain.generator.folder).net, WordsDenoiser)


def test_a_plain_generators_folder_is_refused(speech: Segments, tmp_path: Path) -> None:
    folder = train_generator(speech, FEW, tmp_path / "g")
    with pytest.raises(EmodiffError, match="other settings"):
        train_generator(speech, FEW, folder, words=True)


def test_what_goes_wrong_is_said_in_a_sentence(speech: Segments, tmp_path: Path) -> None:
    silent = speech.take([0, 1, 2, 3])
    silent.table["text"] = ""
    with pytest.raises(EmodiffError, match="no segment has a text"):
        train_generator(silent, FEW, tmp_path / "g", words=True)
    joint = load_preset("smoke", denoiser=dict(condition="joint"))
    with pytest.raises(EmodiffError, match="need the condition 'apart'"):
        train_generator(speech, joint, tmp_path / "g", words=True)
    folder = train_generator(speech, FEW, tmp_path / "words", words=True)
    plain = train_generator(speech, FEW, tmp_path / "plain")
    (folder / "model.safetensors").write_bytes((plain / "model.safetensors").read_bytes())
    with pytest.raises(EmodiffError, match="weights do not fit"):
        load_generator(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(EmodiffError, match="damaged"):
        load_generator(folder)
