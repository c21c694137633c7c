"""A plan on made-up speech, which several tests share: folds, pools, records of generators."""
import numpy as np
import pandas as pd
import torch

from emodiff.base.core import runs_dir
from emodiff.base.settings import Settings, load_preset
from emodiff.generator.checkpoints import write_tensors
from emodiff.recognition.classifier import made_up_segments
from emodiff.recognition.folds import Fold, loso_folds
from emodiff.recognition.pools import shuffle_labels
from emodiff.speech.segments import Segments, contents, patches

N = 64  # real segments, two per utterance, of four speakers


def smoke() -> Settings:
    "The smoke preset with recognisers that learn the made-up emotions."
    return load_preset("smoke", protocol={"seeds": 1, "resamples": 50, "jobs": 1},
                       classifier={"steps": 30, "lr": 1e-2})


def recorded(kind: str, key: str, table: pd.DataFrame, heard: Segments | None = None) -> str:
    "What a run of training leaves: rows below data/runs, and patches of `heard`; returns the key."
    path = runs_dir() / kind / key / "trained_on.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = table.drop(columns=["gender", "frames", "text", "path"])
    if heard is not None:
        rows = rows.assign(content=contents(heard))
        write_tensors(path.with_name("heard.safetensors"), {
            "patches": torch.from_numpy(patches(heard)),
            "frames": torch.from_numpy(heard.table["frames"].to_numpy(np.int64, copy=True))}, {})
    rows.to_csv(path, index=False)
    return key


def synthetic_from(segments: Segments, key: str) -> Segments:
    "Made-up samples of a generator, with the prompts of real segments."
    return Segments(segments.mels, segments.table.assign(
        synthetic=True, generator=key, segment=0,
        utterance=[f"{key}-{i}" for i in range(len(segments))]))


class MadeUpPlan:
    "Real speech, its folds, and pools of synthetic speech whose generators saw nobody of a group."

    def __init__(self) -> None:
        self.settings = smoke()
        self.real = real = made_up_segments(N)
        self.folds: list[Fold] = loso_folds(real.table, self.settings.protocol)
        self.pools = {"real": real, "duplicated": real, "copy-synthesis": Segments(
            (real.mels * 0.9).astype(np.float16), real.table.assign(copy_synthesis="a vocoder"))}
        self.outside = {g: real.take(np.concatenate([f.test for f in self.folds if f.group != g]))
                        for g in (0, 1)}
        for g, others in self.outside.items():
            diffusion = recorded("generator", f"diffusion{g}", others.table)
            cycle = recorded("gan", f"cycle{g}", others.table)
            self.pools[f"group {g}"] = synthetic_from(others, diffusion)
            self.pools[f"CycleGAN group {g}"] = synthetic_from(others, cycle)
            self.pools[f"shuffled group {g}"] = shuffle_labels(self.pools[f"group {g}"], g)
        self.sizes = {g: len(self.pools[f"group {g}"]) for g in (0, 1)}
