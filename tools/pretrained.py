"""For maintainers: train data/pretrained/demo, the generator that the project ships, and judge it.

    python tools/pretrained.py            (about 10 minutes on one core; a killed training goes on)

Trained on the stand-ins of four corpora, whose licence is the project's own;
`load_generator("demo")` finds it. The model card says how its speech compares with theirs.
"""
import shutil
from pathlib import Path

import numpy as np

from emodiff.base.core import rng_for, runs_dir, write_text
from emodiff.base.settings import load_preset
from emodiff.generator.sampling import load_generator, synthesise
from emodiff.generator.training import train_generator
from emodiff.recognition.fidelity import fidelity
from emodiff.recognition.similarity import paired_mad
from emodiff.speech.segments import Segments, concat, prepare
from emodiff.speech.standins import load_corpus

FOLDER = Path(__file__).resolve().parent.parent / "data" / "pretrained" / "demo"
CORPORA = ("IEMOCAP", "MSP-IMPROV", "CREMA-D", "RAVDESS")
SETTINGS = load_preset("demo", training={"steps": 1200, "lr": 3e-3, "ema": 0.99})
CARD = """
## Stand-in speech only

It has never heard a person. Its corpora are the project's stand-ins, spoken by eSpeak in the
layouts of {corpora}; their {speakers} voices, and nothing else, are what it can speak with. It is
here to try the playground and the API with, not for research on emotion. Licence: Apache-2.0, as
the project.

| | UAR of a recogniser of real (stand-in) speech | MAD to real | Fréchet distance |
|---|---|---|---|
| its speech, {steps} steps of DPM-Solver++ | {fidelity:.1f} % | {mad:.3f} | {frechet:.2f} |
| unseen real (stand-in) speech | {unseen:.1f} % | {again:.3f} (repetitions) | {floor:.2f} |

192 segments; a tenth of the real ones were kept from the recogniser, not from the generator.
Made by `python tools/pretrained.py`.
"""


def everything() -> Segments:
    "The segments of all four stand-in corpora."
    manifests = [load_corpus(name, None, SETTINGS.standin) for name in CORPORA]
    return concat([prepare(m, SETTINGS.features) for m in manifests])


def judged(real: Segments) -> dict[str, float]:
    "What the card says of the generator in FOLDER."
    rows = rng_for("judge the shipped generator").permutation(len(real))[:192]
    plan = real.table.iloc[rows].reset_index(drop=True)
    made = synthesise(load_generator(FOLDER), plan[
        ["corpus", "speaker", "gender", "emotion", "text"]], SETTINGS.sampling)
    unseen = np.arange(len(real)) % 10 == 0
    found = fidelity(real.take(~unseen), made, real.take(unseen), SETTINGS, "cpu")
    ours, theirs = (r for _, r in found.iterrows())
    return {"fidelity": ours["fidelity (UAR %)"], "unseen": theirs["fidelity (UAR %)"],
            "frechet": ours["Fréchet distance"], "floor": theirs["Fréchet distance"],
            "mad": paired_mad(real, made)["mad"].mean(),
            "again": paired_mad(real, real, differ=("utterance",))["mad"].mean()}


if __name__ == "__main__":
    real = everything()
    work = runs_dir() / "pretrained-demo"
    load_generator(train_generator(real, SETTINGS, work)).save_pretrained(FOLDER)
    numbers = judged(real)
    card = FOLDER / "README.md"
    speakers = len(real.table.drop_duplicates(["corpus", "speaker"]))
    write_text(card, card.read_text("utf-8") + CARD.format(
        corpora=", ".join(CORPORA), speakers=speakers, steps=SETTINGS.sampling.steps, **numbers))
    shutil.rmtree(work)
    print(card.read_text("utf-8"))
