"""speech.features: damaged bytes of a clip, and the constants on recorded speech."""
import contextlib
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import soundfile
from hypothesis import strategies
from voice import babble

from emodiff.base.settings import Features
from emodiff.speech.features import (
    BrokenClip,
    end_of_speech,
    hifigan_log_mel,
    load_audio,
    log_mel,
    unscale,
)
from emodiff.speech.segments import cut

SETTINGS = Features()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    "A folder, and the bytes of a short clip in four formats."
    folder, found = tmp_path_factory.mktemp("small"), {}
    for name in ("wav", "flac", "ogg", "aiff"):
        soundfile.write(folder / f"small.{name}", babble(0.2), 22050)
        found[name] = (folder / f"small.{name}").read_bytes()
    return folder, found


@hypothesis.settings(max_examples=60, deadline=None, derandomize=True, database=None)
@hypothesis.given(strategies.sampled_from(["aiff", "flac", "ogg", "wav"]),
                  strategies.integers(0, 200), strategies.binary(max_size=12),
                  strategies.floats(0, 1))
def test_damaged_bytes_give_a_finite_wave_or_a_broken_clip(small, name, where, junk, kept):
    "Overwrite some bytes of the header, cut the end, add junk."
    folder, clips = small
    raw = bytearray(clips[name])
    raw[where:where + len(junk)] = junk
    clip = folder / f"junk.{name}"
    clip.write_bytes(raw[:int(kept * len(raw)) + 1] + junk)
    with contextlib.suppress(BrokenClip):
        assert np.isfinite(load_audio(clip, SETTINGS)).all()
    with contextlib.suppress(BrokenClip):
        clip.write_bytes(junk * 3)
        load_audio(clip, SETTINGS)


@pytest.mark.parametrize("seconds", [0.15, 1.0, 2.9721, 3.1, 3.3, 7.0])
def test_speech_ends_near_its_last_valid_frame(seconds):
    "A voice without silence around it: found within 2 frames."
    wave = babble(seconds, seed=int(10 * seconds), silence=0)
    mels, frames = cut(wave * np.float32(0.95 / np.abs(wave).max()), SETTINGS)
    assert np.abs(end_of_speech(mels) - frames).max() <= 2


@pytest.mark.parametrize("corpus", ["RAVDESS", "EmoDB", "URDU"])
def test_the_constants_hold_on_recorded_speech(shared, corpus):
    "Nothing reaches the ceiling, little lies on the floor, and log_mel keeps to the formula."
    clips = sorted((shared / "corpora" / corpus).rglob("*.flac"))[::24]
    if not clips:
        pytest.skip(f"{corpus} is not beside the project")
    waves = [load_audio(clip, SETTINGS) for clip in clips]
    mels, frames = zip(*(cut(wave, SETTINGS) for wave in waves), strict=True)
    first = [m[0][:, :f[0]].astype(np.float32) for m, f in zip(mels, frames, strict=True)]
    values = np.concatenate([m.ravel() for m in first])
    errors = [np.abs(log_mel(w, SETTINGS) - hifigan_log_mel(w, SETTINGS, double=True)).max()
              for w in waves]
    assert values.max() < 1 and (values == -1).mean() < 0.05 and max(errors) <= 1e-4
    assert unscale(values.max(), SETTINGS) < 2.5
    late = [abs(int(end_of_speech(m[:1])[0]) - f[0]) for m, f in zip(mels, frames, strict=True)]
    assert max(late) <= 4 and np.mean(np.array(late) <= 2) > 0.9
