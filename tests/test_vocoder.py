"""Copy-synthesis survives a kill; a HiFi-GAN loses little; wrong vocoders are refused."""
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from stripes import stripes

from emodiff.base.core import EmodiffError
from emodiff.base.settings import Features, load_preset
from emodiff.generator import vocoder
from emodiff.generator.vocoder import copy_synthesis, load_vocoder, vocode
from emodiff.speech.features import load_audio, log_mel, unscale
from emodiff.speech.segments import cut

SETTINGS = load_preset("smoke")


@pytest.mark.filterwarnings("ignore:no vocoder named")
def test_a_killed_copy_goes_on(home: Path) -> None:
    "Interrupted in its third part, it speaks only what is missing; the copies are the same."
    torch.set_num_threads(1)
    real, calls = stripes(8), []

    def stop(mels, *rest):
        calls.append(len(mels))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return vocode(mels, *rest)

    whole = np.array(copy_synthesis(real, "", SETTINGS).mels)
    with mock.patch.dict("os.environ", EMODIFF_HOME=str(home / "other")), \
            mock.patch.object(vocoder, "_COPY_CHUNK", 2), \
            mock.patch.object(vocoder, "vocode", stop):
        with pytest.raises(KeyboardInterrupt):
            copy_synthesis(real, "", SETTINGS)
        left = sorted(p.name for p in (home / "other").rglob("parts/*.npy"))
        assert left == ["000000.npy", "000002.npy"]
        again = copy_synthesis(real, "", SETTINGS)
        assert calls == [2] * 5 and not list((home / "other").rglob("parts/*.npy"))
        assert np.abs(np.float32(again.mels) - whole).max() < 1e-2


@pytest.mark.parametrize("content, match", [
    (None, "neither a folder nor a hub name"), ("{}", "neither|holds no SpeechT5HifiGan"),
    ("{", "neither a folder")])
def test_wrong_vocoders(tmp_path: Path, content: str | None, match: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(EmodiffError, match=match):
        load_vocoder(tmp_path)


def test_a_vocoder_of_other_sizes(shared: Path) -> None:
    if not (shared / "hifigan").exists():
        pytest.skip("there is no HiFi-GAN in ../shared")
    with pytest.raises(EmodiffError, match="name one that fits"):
        load_vocoder(shared / "hifigan", features=Features(hop=128))


@pytest.mark.filterwarnings("ignore:no vocoder named")
def test_what_a_hifigan_loses(shared: Path) -> None:
    "Log-Mel L1 between a clip and its copy, on frames within 35 dB of the loudest."
    clips = sorted((shared / "corpora" / "RAVDESS").rglob("*.flac"))
    if not clips or not (shared / "hifigan").exists():
        pytest.skip("there is no RAVDESS or no HiFi-GAN in ../shared")
    features = Features()

    def distance(wave: np.ndarray, speak) -> float:
        mels, frames = cut(wave, features)
        before = unscale(mels[:1], features)[0][:, :frames[0]]
        after = log_mel(vocode(mels[:1], frames[:1], speak, features)[0], features)
        level = 10 * np.log10((np.exp(before) ** 2).sum(0))
        return float(abs(after - before)[:, level > level.max() - 35].mean())

    chosen = [load_audio(str(p), features) for p in clips[::len(clips) // 4][:4]]
    hifigan = load_vocoder(shared / "hifigan")
    assert np.mean([distance(w, hifigan) for w in chosen]) <= 0.45
    assert np.mean([distance(w, load_vocoder()) for w in chosen]) <= 0.45
