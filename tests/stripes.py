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
# Arguments: folder with segments/, how many kills, names of the generator or of GANs; what is made
# goes to NAME/alone and NAME/killed.
KILLER = """
import os, random, shutil, signal, sys, time, warnings
import torch, torch._dynamo  # which every optimiser imports: once here, not in every fork
from emodiff.base.settings import GANS, load_preset
from emodiff.generator.gan_training import train_gan
from emodiff.generator.training import train_generator
from emodiff.speech.segments import load_segments
torch.set_num_threads(1)
warnings.simplefilter("ignore")
folder, most = sys.argv[1], int(sys.argv[2])
segments = load_segments(folder + "/segments")
settings = load_preset("smoke", training=dict(steps=10, batch=4, checkpoint_every=2, accumulate=2,
                                              validate=0.05))
def made(out):
    return sorted(os.listdir(f"{out}/checkpoints")) if os.path.isdir(f"{out}/checkpoints") else []
def train(name, out, most, seconds):
    kills, rng, begun = 0, random.Random(0), time.monotonic()
    while True:
        child = os.fork()
        if child == 0:
            if name in GANS:
                train_gan(name, segments, settings, out)
            else:
                train_generator(segments, settings, out, words=name == "words")
            os._exit(0)
        if kills < most:
            before, start = made(out), time.monotonic()
            if kills % 2 == 0:  # once soon after a checkpoint, once at any moment
                while made(out) == before and time.monotonic() - start < 60:
                    time.sleep(0.002)
            time.sleep(rng.uniform(0.0, seconds * (0.05 if kills % 2 == 0 else 0.25)))
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if status and os.WIFSIGNALED(status):
            kills += 1
        elif status == 0 and kills == most:
            return time.monotonic() - begun
        else:  # it ended before it was killed: all of it once more
            assert status == 0 and time.monotonic() - begun < 120, status
            shutil.rmtree(out)
            kills = 0
for name in sys.argv[3:]:
    seconds = train(name, f"{folder}/{name}/alone", 0, 0.0)
    train(name, f"{folder}/{name}/killed", most, seconds)
    print(name, "killed", most, "times")
"""
