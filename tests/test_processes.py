"""Two processes over gloo train and sample what one process does."""
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from forked import Process, run_python
from safetensors.numpy import load_file

from emodiff.base.settings import load_preset
from emodiff.speech.segments import prepare, save_segments
from emodiff.speech.standins import load_corpus


def one(*command: str) -> tuple[str, str]:
    "What one process says."
    done = run_python("-m", "emodiff", *command)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, done.stderr


def torchrun(*command: str) -> tuple[str, str]:
    "What two processes say that `torchrun` starts."
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone",
                           "--nproc_per_node", "2", "-m", "emodiff", *command],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, done.stderr


def two(*command: str, code: int = 0) -> tuple[str, str]:
    "What two processes say that are given `torchrun`'s variables, without its start."
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
           "MASTER_PORT": str(port)}
    ranks = [Process(["-m", "emodiff", *command], {**env, "RANK": str(n), "LOCAL_RANK": str(n)})
             for n in (0, 1)]
    ended = [p.wait() for p in ranks]
    said, wrong = ("".join(path.read_text("utf-8") for path in paths)
                   for paths in ([p.out for p in ranks], [p.err for p in ranks]))
    assert ended == [code, code], wrong[-3000:]
    return said, wrong


@pytest.fixture
def segments(home: Path) -> Path:
    settings = load_preset("smoke")
    manifest = load_corpus("IEMOCAP", None, settings.standin)
    save_segments(prepare(manifest, settings.features, 1), home / "segments")
    return home / "segments"


def test_two_processes_train_and_sample_as_one(segments: Path) -> None:
    home = segments.parent
    train = ["train", str(segments), "--preset", "smoke", "--device", "cpu", "--set",
             "training.batch=8", "--set", "training.accumulate=2",
             "--set", "training.precision=fp32"]  # bf16 rounds half a batch otherwise than a whole
    for name, start in (("one", one), ("two", torchrun)):
        said, wrong = start(*train, "--out", str(home / name))
        assert ("2 processes share every batch" in wrong) == (name == "two"), wrong
        assert said.count("segments; 6 steps of 8") == 1, said  # rank 0 alone speaks
    alone, both = (pd.read_csv(home / name / "history.csv") for name in ("one", "two"))
    assert np.allclose(alone.loss, both.loss, rtol=1e-5)
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
    for name, start in (("heard one", one), ("heard two", two)):
        said, _ = start(*sample, "--out", str(home / name))
        assert said.count("5 segments in") == 1, said
    mels = [np.load(home / name / "mels.npy") for name in ("heard one", "heard two")]
    assert np.abs(mels[0].astype("f4") - mels[1].astype("f4")).max() < 1e-3
    waves = [sorted(p.name for p in (home / name / "waves").iterdir())
             for name in ("heard one", "heard two")]
    assert waves[0] == waves[1] and len(waves[0]) == 6


def test_a_batch_that_two_processes_cannot_share_is_refused(segments: Path) -> None:
    _, wrong = two("train", str(segments), "--preset", "smoke", "--device", "cpu", "--set",
                   "training.batch=5", "--out", str(segments.parent / "x"), code=1)
    assert ("setting training.batch (5) must be a multiple of accumulate (1) "
            "times the number of processes (2).") in wrong
