"""Made-up Mels that tests train on: stripes that tell speakers and emotions apart."""
import numpy as np
import pandas as pd

from emodiff.base.core import rng_for
from emodiff.base.settings import EMOTIONS
from emodiff.speech.segments import Segments


def stripes(n: int, seed: int = 0) -> Segments:
    "n harmonic Mels of three speakers: the tilt is the emotion, the spacing the speaker."
    rng = rng_for("stripes", seed)
    emotion, speaker = np.arange(n) % 4, rng.integers(0, 3, n)
    frames, phase = rng.integers(90, 200, n), rng.random((n, 1, 1))
    band, frame = np.arange(80)[None, :, None], np.arange(256)[None, None, :]
    tilt = np.array([90, 45, 22, 11])[emotion][:, None, None]
    spacing = np.array([9.0, 12.0, 16.0])[speaker][:, None, None]
    beat = np.cos(2 * np.pi * (frame / 50 + phase))
    mels = np.exp(-band / tilt) * (1.2 + 0.4 * np.cos(2 * np.pi * band / spacing) + 0.4 * beat) - 1
    mels = np.where(frame < frames[:, None, None], mels, -1).clip(-1, 1)
    table = pd.DataFrame(dict(
        path="", corpus="stripes", utterance=[f"u{i:03d}" for i in range(n)], segment=0,
        frames=frames, speaker=np.array(["low", "mid", "high"])[speaker], gender="", session="",
        emotion=np.array(EMOTIONS)[emotion], text="a test of stripes", synthetic=False,
        seconds=frames * 256 / 22050))
    return Segments(mels.astype(np.float16), table)


# Trains in processes of its own, kills them with SIGKILL again and again, and says how often.
# Arguments: folder with segments/, name of the generator or of a GAN, how many kills.
KILLER = """
import os, random, signal, sys, time, warnings
import torch
from emodiff.base.settings import GANS, load_preset
from emodiff.generator.gan_training import train_gan
from emodiff.generator.training import train_generator
from emodiff.speech.segments import load_segments
torch.set_num_threads(1)
warnings.simplefilter("ignore")
folder, name, most = sys.argv[1], sys.argv[2], int(sys.argv[3])
segments = load_segments(folder + "/segments")
settings = load_preset("smoke", training=dict(steps=10, batch=4, checkpoint_every=2, accumulate=2,
                                              validate=0.05))
kills, rng = 0, random.Random(0)
def made(part):
    return sorted(os.listdir(f"{folder}/{part}/checkpoints")) if os.path.isdir(
        f"{folder}/{part}/checkpoints") else []
for part, killer in (("alone", False), ("killed", True)):
    while True:
        child = os.fork()
        if child == 0:
            out = f"{folder}/{part}"
            if name in GANS:
                train_gan(name, segments, settings, out)
            else:
                train_generator(segments, settings, out, words=name == "words")
            os._exit(0)
        if killer and kills < most:
            before, start = made(part), time.monotonic()
            if kills % 2 == 0:  # once at any moment, once soon after a checkpoint
                while made(part) == before and time.monotonic() - start < 60:
                    time.sleep(0.002)
            time.sleep(rng.uniform(0.0, 0.2 if kills % 2 == 0 else 0.5))
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if status == 0:
            break
        assert os.WIFSIGNALED(status), status
        kills += 1
print("killed", kills, "times")
"""
