"""The package from Python: names imported when they are used, and a generator that speaks."""
import html
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import emodiff
from emodiff.base.core import EmodiffError
from emodiff.generator.sampling import Generator
from emodiff.recognition.classifier import made_up_segments

pytestmark = pytest.mark.filterwarnings("ignore:no vocoder named")


@pytest.fixture(scope="module")
def speaker() -> Generator:
    return emodiff.Generator.from_pretrained("demo")


def seconds(code: str) -> float:
    "How long a fresh Python takes to run a line."
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    return time.perf_counter() - start


def test_the_import_is_cheaper_than_that_of_torch() -> None:
    look = "import emodiff, sys; dir(emodiff); sys.exit('torch' in sys.modules)"
    assert min(seconds(look) for _ in range(2)) < 1.3 * seconds("import torch")


def test_every_name_is_there() -> None:
    assert 10 <= len(dir(emodiff)) <= 16
    for name in dir(emodiff):
        assert getattr(emodiff, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        emodiff.nothing  # noqa: B018


def test_one_line_is_a_file_a_player_and_a_mel(speaker: Generator, tmp_path: Path) -> None:
    speech = speaker("The train leaves at nine.", emotion="sad", speaker="Ses01F",
                     num_inference_steps=6, guidance_scale=2, seed=0)
    assert [p.name for p in speech.save(tmp_path / "a.wav")] == ["a.wav"]
    wave, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert rate == speech.sampling_rate and np.abs(wave - speech.waves[0]).max() < 1e-4
    page = speech._repr_html_()
    assert page.count("<audio") == page.count("<img") == 1 and "data:audio/wav" in page
    assert speech.mels.shape == (1, 80, 256) and len(repr(speech)) < 80 > len(repr(speaker))


def test_lists_of_lines(speaker: Generator, tmp_path: Path) -> None:
    speech = speaker(["One.", "<b>Two</b>."], emotion=["sad", "angry"], num_inference_steps=2)
    assert [p.name for p in speech.save(tmp_path / "a.flac")] == ["a-1.flac", "a-2.flac"]
    assert "<b>" not in speech._repr_html_() and html.escape("<b>") in speech._repr_html_()
    assert [len(one) for one in speech] == [1, 1]
    with pytest.raises(EmodiffError, match="do not fit"):
        speaker(["One.", "Two."], emotion=["sad", "angry", "sad"])


@pytest.mark.parametrize(("asked", "said"), [
    ({"emotion": "furious"}, "knows no emotion 'furious'; it knows: angry, happy, neutral, sad"),
    ({"speaker": "Ses09F"}, "knows no speaker 'Ses09F'; it knows: .*Ses01F"),
    ({"speaker": "Ses01F", "corpus": "RAVDESS"}, "of IEMOCAP, not of RAVDESS"),
    ({"text": "..."}, "nothing to say"), ({"num_inference_steps": 0}, "sampling.steps"),
    ({"sampler": "heun"}, "sampling.sampler")])
def test_wrong_requests_are_one_sentence(speaker: Generator, asked: dict, said: str) -> None:
    with pytest.raises(EmodiffError) as error:
        speaker(**{"text": "Hello.", **asked})
    assert re.search(said, str(error.value)) and "\n" not in str(error.value)


def test_an_unknown_emotion_that_is_meant(speaker: Generator) -> None:
    speech = speaker("Hello.", "furious", num_inference_steps=1, unknown=True)
    assert speech.table["emotion"].tolist() == ["furious"]


def test_recognizer_in_the_manner_of_scikit_learn() -> None:
    "Segments or arrays, one label per row, the same for all segments of an utterance."
    train, test = made_up_segments(64, 0), made_up_segments(32, 1)
    recognizer = emodiff.Recognizer("smoke", steps=40, lr=0.02)
    with pytest.raises(NotFittedError):
        recognizer.predict(test)
    assert recognizer.fit(train).score(test) > 0.7
    found = recognizer.predict(test)
    assert len(found) == len(test) and (found[::2] == found[1::2]).all()  # two segments each
    assert list(recognizer.classes_) == list(train.emotions)
    two = np.where(train.table["emotion"] == "sad", "Wut", "Freude")  # any labels
    other = clone(recognizer).set_params(seed=1).fit(train.mels, two)
    assert list(other.classes_) == ["Freude", "Wut"] and other.get_params()["seed"] == 1
    assert other.predict_proba(test.mels).shape == (32, 2) and len(repr(other)) < 80
    for wrong, labels in ((train.mels, None), (train.mels[0], ["sad"]), (train.mels, ["sad"])):
        with pytest.raises(EmodiffError):
            clone(recognizer).fit(wrong, labels)
