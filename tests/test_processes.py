"""Two processes over gloo train and sample what one process does."""
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from emodiff.base.settings import load_preset
from emodiff.speech.segments import prepare, save_segments
from emodiff.speech.standins import load_corpus

ONE = [sys.executable, "-m", "emodiff"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m",
       "emodiff"]


def run(*command: str) -> subprocess.CompletedProcess:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture
def segments(home: Path) -> Path:
    settings = load_preset("smoke")
    manifest = load_corpus("IEMOCAP", None, settings.standin)
    save_segments(prepare(manifest, settings.features, 1), home / "segments")
    return home / "segments"


def test_two_processes_train_and_sample_as_one(segments: Path) -> None:
    home = segments.parent
    train = ["train", str(segments), "--preset", "smoke", "--device", "cpu", "--set",
             "training.batch=8", "--set", "training.accumulate=2"]
    for name, start in (("one", ONE), ("two", TWO)):
        done = run(*start, *train, "--out", str(home / name))
        assert ("2 processes share every batch" in done.stderr) == (name == "two"), done.stderr
        assert done.stdout.count("segments; 6 steps of 8") == 1, done.stdout  # rank 0 alone speaks
    one, two = (pd.read_csv(home / name / "history.csv") for name in ("one", "two"))
    assert np.allclose(one.loss, two.loss, rtol=1e-5)
    weights = [load_file(home / name / "model.safetensors") for name in ("one", "two")]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        assert np.allclose(value, weights[1][name], rtol=1e-3, atol=1e-4), name

    plan = home / "plan.csv"
    plan.write_text("text,emotion,speaker,corpus,gender\n" + "".join(
        f"Hello {i}.,{emotion},Ses01F,IEMOCAP,female\n"
        for i, emotion in enumerate(["angry", "happy", "neutral", "sad", "angry"])))
    sample = ["sample", str(home / "one"), str(plan), "--steps", "2", "--batch", "2", "--device",
              "cpu", "--seed", "1"]
    for name, start in (("heard one", ONE), ("heard two", TWO)):
        done = run(*start, *sample, "--out", str(home / name))
        assert done.stdout.count("5 segments in") == 1, done.stdout
    mels = [np.load(home / name / "mels.npy") for name in ("heard one", "heard two")]
    assert np.abs(mels[0].astype("f4") - mels[1].astype("f4")).max() < 1e-3
    waves = [sorted(p.name for p in (home / name / "waves").iterdir())
             for name in ("heard one", "heard two")]
    assert waves[0] == waves[1] and len(waves[0]) == 6


def test_a_batch_that_two_processes_cannot_share_is_refused(segments: Path) -> None:
    done = subprocess.run([*TWO, "train", str(segments), "--preset", "smoke", "--device", "cpu",
                           "--set", "training.batch=5", "--out", str(segments.parent / "x")],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode and ("setting training.batch (5) must be a multiple of accumulate (1) "
                                "times the number of processes (2).") in done.stderr
