"""The playground: what a reader can get wrong, and what is left to listen to afterwards."""
import base64
import dataclasses
import html
import io
import json
import re
import warnings
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emodiff.base.settings import Standin, load_preset
from emodiff.generator.diffusion import make_chain
from emodiff.generator.training import train_generator
from emodiff.pages.playground import Playground, playground
from emodiff.speech.segments import prepare
from emodiff.speech.standins import load_corpus

TINY = load_preset("smoke", training=dict(steps=60, batch=8, warmup=5, lr=5e-3, ema=0.9,
                                          checkpoint_every=60))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    "A generator that was trained for seconds, in a home of its own."
    root = tmp_path_factory.mktemp("playground")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMODIFF_HOME", str(root))
        manifest = load_corpus("IEMOCAP", None, Standin(speakers=2, lines=2))
        yield train_generator(prepare(manifest, TINY.features, jobs=1), TINY, root / "tiny")


@pytest.fixture
def play(folder: Path) -> Playground:
    "A panel that has spoken once."
    panel = playground(folder, device="cpu")
    assert isinstance(panel, Playground)
    panel.fields["steps"].value = 4
    panel.button.click()
    return panel


def said(widget: Any) -> str:
    "What a widget says."
    return html.unescape(re.sub("<[^>]+>", "", widget.value))


def sound_of(player: str) -> np.ndarray:
    "The wave in a player, in [-1, 1]."
    data = base64.b64decode(player.split("base64,")[1].split('"')[0])
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (22050, 2, 1)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768


def test_the_shipped_voices_are_called_stand_ins(folder: Path) -> None:
    "With sliders for numbers, and the panel first of all in its notebook."
    panel = playground("demo", device="cpu")
    shown = said(panel.box.children[0]) + panel.fields["who"].label
    assert "stand-ins" in shown and "(stand-in)" in shown
    assert "stand-in" not in said(playground(folder, device="cpu").box.children[0])
    assert {type(panel.fields[name]).__name__ for name in ("steps", "guidance")} == {
        "SelectionSlider", "FloatSlider"}
    path = Path(__file__).parent.parent / "nbs" / "09_pages" / "03_playground.ipynb"
    first = next(c for c in json.loads(path.read_text("utf-8"))["cells"]
                 if c["cell_type"] == "code")
    assert 'playground("demo")' in "".join(first["source"])


def test_the_player_holds_sound(play: Playground) -> None:
    assert np.sqrt(np.mean(sound_of(play.player.value) ** 2)) > 1e-3
    assert not play.button.disabled and not play.keep.disabled


def test_save_writes_what_was_heard(play: Playground, tmp_path: Path) -> None:
    play.folder.value = str(tmp_path / "played")
    play.keep.click()
    kept = sorted((tmp_path / "played").iterdir())
    assert [p.suffix for p in kept] == [".json", ".npy", ".wav"] and "Saved" in play.said.value
    assert base64.b64encode(kept[2].read_bytes()).decode() in play.player.value


@pytest.mark.parametrize(("name", "value"), [("text", " "), ("text", "la " * 60), ("steps", 4000)])
def test_a_mistake_is_one_sentence_and_leaves_nothing_stale(
    play: Playground, name: str, value: Any,
) -> None:
    play.fields[name].value = value
    if name == "steps":  # a chain of fewer steps than are asked for
        short = load_preset("smoke", diffusion={"steps": 100}).diffusion
        play.generator = dataclasses.replace(play.generator, chain=make_chain(short))
    play.button.click()
    assert 'role="alert"' in play.said.value and play.keep.disabled and not play.button.disabled
    assert play.player.value == "" and said(play.said).endswith(".")


def test_the_button_can_be_pressed_again(play: Playground) -> None:
    good = play.fields["text"].value
    play.fields["text"].value = " "
    play.button.click()
    play.fields["text"].value = good
    play.button.click()
    assert "<audio" in play.player.value and not play.keep.disabled


def test_a_folder_that_cannot_be_written(play: Playground, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    play.folder.value = str(tmp_path / "file" / "below a file")
    play.keep.click()
    assert 'role="alert"' in play.said.value and "cannot write" in play.said.value


def test_text_with_html_stays_text(play: Playground) -> None:
    play.fields["text"].value = "<script>alert(1)</script>"
    play.button.click()
    assert "<script" not in play.picture.value + play.player.value + play.said.value
    assert "&lt;script&gt;" in play.picture.value


def test_no_generator_and_no_vocoder(folder: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nowhere = playground(tmp_path / "nowhere")
        voiceless = playground(folder, vocoder="no such vocoder")
    for panel in (nowhere, voiceless):
        assert not isinstance(panel, Playground) and 'role="alert"' in panel.value
    assert "nowhere" in said(nowhere)
