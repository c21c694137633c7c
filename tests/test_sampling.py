"""Samples do not depend on batches, kills, memory or the number of processes."""
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from test_golden import golden  # noqa: F401  a fixture

from emodiff.base.core import EmodiffError, rng_for, seed_for
from emodiff.base.settings import EMOTIONS, Diffusion, load_preset, replace
from emodiff.generator import sampling
from emodiff.generator.diffusion import make_chain, predict_x0, q_sample, respace
from emodiff.generator.prompts import embed_prompts
from emodiff.generator.sampling import (
    SAMPLERS,
    Ancestral,
    Ddim,
    Generator,
    Guided,
    SampleNoise,
    load_generator,
    sampling_chain,
    synthesise,
    vary_segments,
    walk_chain,
)
from emodiff.generator.training import train_generator
from emodiff.speech.segments import Segments

TINY = load_preset("smoke", denoiser=dict(blocks_before=3, blocks_after=1),
                   training=dict(steps=30, batch=8, warmup=5, lr=5e-3, ema=0.9),
                   sampling=dict(steps=6, batch=4, guidance=2.0))
PLAN = pd.DataFrame([dict(corpus="made", speaker="s1", gender="female", emotion=e, text="a line")
                     for e in EMOTIONS for _ in range(2)])
PLACE = {e: 10 + 18 * i for i, e in enumerate(EMOTIONS)}  # the band of each emotion's stripe


def bands() -> Segments:
    "Made-up Mels of 64 frames: a stripe whose place is the emotion."
    rows = pd.DataFrame([dict(corpus="made", speaker=f"s{i % 2}", gender="female", emotion=e,
                              text="a line", utterance=f"u{i}-{e}", path="", session="1",
                              segment=0, frames=64, seconds=0.743, synthetic=False)
                         for i in range(8) for e in EMOTIONS])
    noise = 0.03 * rng_for("made").standard_normal((len(rows), 80, 64))
    centre = rows["emotion"].map(PLACE).to_numpy()[:, None, None]
    mels = -0.8 + noise + 1.4 * np.exp(-0.5 * ((np.arange(80)[:, None] - centre) / 5) ** 2)
    return Segments(np.clip(mels, -1, 1).astype(np.float16), rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A generator that was trained for a moment."
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("sampling")
    with mock.patch.dict("os.environ", EMODIFF_HOME=str(home)):
        return train_generator(bands(), TINY, home / "generator")


@pytest.fixture
def generator(folder: Path, home: Path) -> Generator:
    return load_generator(folder)


@pytest.fixture
def want(generator: Generator) -> Segments:
    "The samples of an undisturbed run."
    return synthesise(generator, PLAN, TINY.sampling, seed=1)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(abs(a.astype(np.float32) - b.astype(np.float32)).max())


class Counting(torch.nn.Module):
    "A network that counts its passes and can be made to fail."

    def __init__(self, net: torch.nn.Module, fail: Callable[[int, int], None] | None = None):
        super().__init__()
        self.net, self.passes, self.fail = net, 0, fail

    def forward(self, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        self.passes += 1
        if self.fail:
            self.fail(self.passes, len(x))
        return self.net(x, *rest)


def counted(generator: Generator, fail: Callable[[int, int], None] | None = None) -> Any:
    return replace(generator, net=Counting(generator.net, fail))


STEPS: dict[str, tuple[Callable, bool]] = {
    "clip/p_sample": (Ancestral, True), "noclip/p_sample": (Ancestral, False),
    "ddim_eta0": (lambda c: Ddim(c, 0.0), True), "ddim_eta1": (lambda c: Ddim(c, 1.0), True)}


@pytest.mark.parametrize("what", STEPS)
def test_steps_of_the_reference(golden: dict[str, np.ndarray], what: str) -> None:  # noqa: F811
    "From the same x_t, output and noise: float64 to 1e-10, and float32 held to the same values."
    whole = make_chain(Diffusion(predict="eps"))
    chains = {f"t{i}": (whole, t) for i, t in enumerate(golden["in/t"])}
    chains |= {f"spaced_{spec}": (respace(whole, spec), golden[f"in/spaced/{spec}/t"])
               for spec in ("250", "50", "ddim50")}
    make, clip = STEPS[what]
    for name, (chain, ts) in chains.items():
        expected = golden[f"f64/{name}/{what}"]
        for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
            x0, noise, eps, nu, z = (torch.from_numpy(golden[f"in/{k}"]).to(dtype)
                                     for k in ("x0", "noise", "eps_out", "v_out", "z"))
            x_t, rows = q_sample(chain, x0, torch.from_numpy(ts), noise), []
            for i, t in enumerate(ts.tolist()):
                row = slice(i, i + 1)
                guess = predict_x0(chain, eps[row], x_t[row], torch.tensor([t]), clip)
                rows.append(make(chain)(x_t[row].clone(), guess, nu[row].clone(), t,
                                        lambda z=z, row=row: z[row]))
            got = torch.cat(rows)[:, 0:80:8, 0:256:16].numpy()
            if dtype == torch.float64:
                np.testing.assert_allclose(got, expected, rtol=1e-10)
            assert abs(got - expected).max() / abs(expected).max() < limit


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sample_does_not_depend_on_its_batch(generator: Generator, sampler: str) -> None:
    plan, chosen = PLAN.iloc[:7], replace(TINY.sampling, sampler=sampler, batch=7)
    at_once = synthesise(generator, plan, chosen, seed=1)
    threes = synthesise(generator, plan, replace(chosen, batch=3), seed=1)
    alone = synthesise(generator, plan.iloc[[5]], chosen, seed=1)
    turned = synthesise(generator, plan.iloc[::-1], chosen, seed=1)
    again = synthesise(generator, alone.table, chosen, seed=1)  # from its own table
    for a, b in ((at_once.mels, threes.mels), (at_once.mels[5:6], alone.mels),
                 (at_once.mels, turned.mels[::-1]), (alone.mels, again.mels)):
        assert difference(a, b) < 1e-3  # a unit in float16's last place is 5e-4 near 1
    assert difference(at_once.mels, synthesise(generator, plan, chosen, seed=2).mels) > 0.1
    assert alone.table.utterance.tolist() == ["synthetic-5"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_nor_before_it_is_rounded(generator: Generator, sampler: str) -> None:
    prompts = embed_prompts(PLAN, generator.settings.denoiser)
    seeds = [seed_for("sample", 1, n) for n in range(7)]

    def drawn(rows: list[int]) -> torch.Tensor:
        chain = sampling_chain(generator.chain, sampler, 6)
        model = Guided(generator, prompts.vectors[prompts.index[rows]], 2.0)
        return walk_chain(model, chain, sampler, SampleNoise([seeds[i] for i in rows], (80, 64)))

    assert (drawn([*range(7)])[[2, 5]] - drawn([2, 5])).abs().max() < 1e-4


def test_variations_do_not_depend_on_their_batch(generator: Generator) -> None:
    originals = bands().take(np.arange(4))
    varied = {level: vary_segments(generator, originals, level, seed=3)
              for level in (0.9, 0.3, 0.01)}
    far = {level: np.abs(v.mels.astype(np.float32) - originals.mels).mean()
           for level, v in varied.items()}
    assert far[0.9] < far[0.3] < far[0.01]
    table = varied[0.3].table
    assert list(table["of"]) == list(originals.table["utterance"]) and table["synthetic"].all()
    assert list(table["emotion"]) == list(originals.table["emotion"])
    again = vary_segments(generator, originals, 0.3, replace(TINY.sampling, batch=1), seed=3)
    assert difference(again.mels, varied[0.3].mels) < 2e-3


def test_a_killed_run_goes_on(generator: Generator, want: Segments, tmp_path: Path) -> None:
    "Interrupted in the second chunk of six steps, it asks only for what is missing."
    def stop(passes: int, size: int) -> None:
        if passes == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise(counted(generator, stop), PLAN, TINY.sampling, seed=1, folder=tmp_path)
    left = sorted(p.name for p in tmp_path.glob("*samples*"))
    assert left == ["samples-000000.npy", "samples.key"]
    second = counted(generator)
    got = synthesise(second, PLAN, TINY.sampling, seed=1, folder=tmp_path)
    assert np.array_equal(got.mels, want.mels) and second.net.passes == 6
    (tmp_path / "samples-000004.npy").write_bytes(b"half of a file")
    third = counted(generator)
    with pytest.warns(UserWarning, match="samples-000004.npy is damaged"):
        got = synthesise(third, PLAN, TINY.sampling, seed=1, folder=tmp_path)
    assert np.array_equal(got.mels, want.mels) and third.net.passes == 6


def test_chunks_of_another_run_are_not_mistaken(generator: Generator, want: Segments,
                                                tmp_path: Path) -> None:
    synthesise(generator, PLAN, TINY.sampling, seed=1, folder=tmp_path)
    with pytest.warns(UserWarning, match="samples of another plan, generator or seed"):
        other = synthesise(generator, PLAN, TINY.sampling, seed=2, folder=tmp_path)
    assert not np.array_equal(other.mels, want.mels)


def test_memory_runs_out(generator: Generator, want: Segments) -> None:
    "More than five rows at once (guidance doubles them) are refused: chunks are drawn in halves."
    def refuse(passes: int, size: int) -> None:
        if size > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.warns(UserWarning, match="not enough memory for 4 samples") as caught:
        got = synthesise(counted(generator, refuse), PLAN, TINY.sampling, seed=1)
    assert len(caught) == 1 and difference(got.mels, want.mels) < 1e-3
    with pytest.warns(UserWarning), pytest.raises(EmodiffError, match="memory for one sample"):
        synthesise(counted(generator, lambda passes, size: refuse(0, 9)), PLAN, TINY.sampling)

    def other(passes: int, size: int) -> None:
        raise RuntimeError("another error")

    with pytest.raises(RuntimeError, match="another error"):
        synthesise(counted(generator, other), PLAN, TINY.sampling)


def test_two_ranks_played_one_after_the_other(generator: Generator, want: Segments) -> None:
    def play(rank: int) -> np.ndarray:
        group = SimpleNamespace(rank=rank, world=2, barrier=lambda: None,
                                accelerator=SimpleNamespace(reduce=lambda bits, how: bits))
        with mock.patch.object(sampling, "join_processes", lambda device: (group, device)), \
                mock.patch.object(sampling, "samples_as_segments", lambda mels, *_: mels):
            return synthesise(generator, PLAN, TINY.sampling, seed=1)  # type: ignore[return-value]

    ranks = [play(0), play(1)]
    assert not ranks[0][4:].any() and not ranks[1][:4].any()
    one = synthesise(generator, PLAN, TINY.sampling, seed=1)
    mels = ranks[0] + ranks[1]
    for mel, end, whole in zip(mels, one.table["frames"], want.mels, strict=True):
        assert np.array_equal(mel[:, :end], whole[:, :end])
