"""A voice that needs no corpus, clips of it, and a clip of noise, for the tests of speech."""
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from scipy.signal import lfilter

from emodiff.base.core import rng_for


def babble(seconds: float = 2.0, rate: int = 22050, pitch: float = 140.0, seed: int = 0,
           silence: float = 0.5) -> np.ndarray:
    "A voice-like float32 wave: pulses at a gliding pitch through three formants, with pauses."
    rng = rng_for("babble", seed)
    t = np.arange(int(seconds * rate)) / rate
    phase = np.cumsum(pitch * (1 + 0.3 * np.sin(2 * np.pi * 0.7 * t + seed))) / rate
    wave = (np.diff(np.floor(phase), prepend=0) > 0) + 0.01 * rng.standard_normal(len(t))
    for formant in (600, 1300, 2600):
        radius, angle = np.exp(-np.pi * 90 / rate), 2 * np.pi * formant / rate
        wave = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], wave)
    wave = wave * np.clip(2 * np.sin(2 * np.pi * 2.2 * t + 0.5) + 1.2, 0, 1)
    pad = np.zeros(int(silence * rate))
    wave = np.concatenate((pad, wave / np.abs(wave).max() * 0.3, pad))
    return (wave + 1e-4 * rng.standard_normal(len(wave))).astype(np.float32)


def write_clips(folder: Path, count: int, seconds: float = 0.4, rate: int = 22050) -> pd.DataFrame:
    "A manifest of `count` short clips."
    folder.mkdir(parents=True)
    rows = []
    for i in range(count):
        path = folder / f"{i:04d}.wav"
        soundfile.write(path, babble(seconds + 0.01 * i, rate, seed=i, silence=0.05), rate)
        rows.append({"path": str(path), "speaker": f"{i % 3:02d}", "emotion": "sad"})
    return pd.DataFrame(rows)


def tiny(path: Path, seconds: float = 0.1, rate: int = 16000) -> Path:
    "A short clip of noise."
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = rng_for("tiny", path.name).uniform(-0.1, 0.1, int(seconds * rate))
    soundfile.write(path, noise, rate)
    return path
