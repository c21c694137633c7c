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


def speechbrain_checkpoint(folder: Path) -> tuple[Path, torch.nn.Module]:
    "A small HiFi-GAN without skill, saved as SpeechBrain saves them, and the same as a model."
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    torch.manual_seed(0)
    model = SpeechT5HifiGan(SpeechT5HifiGanConfig(
        sampling_rate=22050, upsample_initial_channel=32, upsample_rates=[8, 8, 2, 2],
        upsample_kernel_sizes=[16, 16, 4, 4], normalize_before=False)).eval()
    saved = {}
    for name, value in model.state_dict().items():
        layer, _, kind = name.replace("upsampler", "ups").rpartition(".")
        if kind == "weight":
            saved[f"{layer}.conv.weight_g"] = 2 * value.norm(dim=(1, 2), keepdim=True)
            saved[f"{layer}.conv.weight_v"] = value / 7
        elif kind == "bias":
            saved[f"{layer}.conv.bias"] = value
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.mul_(2 if name.endswith("weight") else 1)
    for layer in model.modules():
        if type(layer) is torch.nn.Conv1d:
            layer.padding_mode = "reflect"
    folder.mkdir(parents=True)
    torch.save(saved, folder / "generator.ckpt")
    return folder, model


@pytest.mark.filterwarnings("ignore:no vocoder named")
def test_the_named_hifigan_is_used_where_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    "Found in the hub's cache, said by name, and half a hop late, for its frames are centred so."
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert vocoder.vocoder_name("") == "Griffin-Lim" != vocoder.NAMED_VOCODER
    repository = tmp_path / f"models--{vocoder.NAMED_VOCODER.replace('/', '--')}"
    _, model = speechbrain_checkpoint(repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    assert vocoder.vocoder_name("") == vocoder.vocoder_key("") == vocoder.NAMED_VOCODER
    assert vocoder.vocoder_name("griffin-lim") == "Griffin-Lim"
    mels = np.random.default_rng(0).normal(-4, 2, (2, 80, 20)).astype(np.float32)
    with torch.no_grad():
        wanted = model(torch.from_numpy(mels).transpose(1, 2)).numpy()
    found = load_vocoder()(mels)
    assert found.shape == wanted.shape == (2, 5120) and not found[:, :128].any()
    assert np.abs(found[:, 128:] - wanted[:, :-128]).max() < 1e-5 < np.abs(wanted).max()
    with pytest.raises(EmodiffError, match="name one that fits"):
        load_vocoder(features=Features(hop=128))


@pytest.mark.parametrize("content", [b"no torch file", {"conv_pre.conv.bias": torch.zeros(3)},
                                     {"code": Path}])
def test_broken_checkpoints_are_refused(tmp_path: Path, content: object) -> None:
    "Also one whose pickle names a class: such a pickle could run code."
    if isinstance(content, bytes):
        (tmp_path / "generator.ckpt").write_bytes(content)
    else:
        torch.save(content, tmp_path / "generator.ckpt")
    with pytest.raises(EmodiffError, match="neither a folder nor a hub name"):
        load_vocoder(tmp_path)
