"""How often the intervals of gains hold the truth, in simulated experiments of many sizes.

    python tools/coverage.py [EXPERIMENTS]      minutes; prints the table and writes
                                                emodiff/coverage.csv
    python tools/coverage.py EXPERIMENTS OUT    the same, written to OUT

A gain of 0 is simulated: speakers of different skill, whom synthetic speech helps differently,
recognisers that vary with their seed, and generators that move all speakers of their group. An
interval should hold the 0 in 95 % of experiments, and its p-value be below 0.05 in 5 %. A
hierarchical bootstrap of speakers, generators and seeds stands beside it.
"""
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

from emodiff.recognition.statistics import shared_variance, total_variance

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Size:
    "The shape of an experiment."
    speakers: int
    groups: int  # of speakers who share generators
    folds: int  # of speakers who share recognisers
    seeds: int
    generators: int  # per group
    mixed: int = 1  # generators of as many groups make one pool, as across corpora
    arms: int = 6  # that are compared with the control
    utterances: int = 24  # per speaker


OPEN = Size(24, 2, 2, 6, 3)
SIZES = {
    "open": OPEN,
    "open, across corpora": replace(OPEN, groups=1, folds=1, mixed=2),
    "two arms across corpora": replace(OPEN, groups=1, folds=1, mixed=2, arms=1),
    "ten speakers": replace(OPEN, speakers=10), "three seeds": replace(OPEN, seeds=3),
    "four groups": replace(OPEN, groups=4, folds=4),
    "six generators": replace(OPEN, seeds=12, generators=6),
    "one generator": replace(OPEN, generators=1),
    "demo": Size(6, 2, 6, 2, 1), "demo, across corpora": Size(6, 1, 1, 2, 1, 2)}
SPREADS = (0.0, 2.0, 4.0)  # standard deviation of a generator's effect, points of UAR


def simulate(
    rng: np.random.Generator,
    size: Size,
    spread: float,  # standard deviation of a generator's effect, points
    experiments: int,
) -> list[np.ndarray]:  # per arm (experiments, seeds, speakers): what each adds to its gain, points
    "The gains of several arms over one control, all of them truly 0."
    n, number = size.speakers, np.arange(size.seeds) % size.generators
    group, fold = np.arange(n) % size.groups, np.arange(n) % size.folds
    skill, arms = rng.normal(0.6, 0.08, (experiments, 1, n)), []
    for arm in range(size.arms + 1):  # the first one is the control
        chance = skill + rng.normal(0, 0.015, (experiments, size.seeds, size.folds))[..., fold]
        if arm:
            shape = experiments, size.generators, size.groups, size.mixed
            moved = rng.normal(0, spread / 100, shape).mean(-1)
            helped = rng.normal(0, 0.03, (experiments, 1, n))
            chance = chance + helped + moved[:, number][..., group]
        right = rng.binomial(size.utterances, np.clip(chance, 0.02, 0.98))
        arms.append(100 * right / size.utterances / n)
    return [arm - arms[0] for arm in arms[1:]]


def draws_of(size: Size) -> tuple[np.ndarray, np.ndarray]:  # (speakers,), (seeds,)
    "Who shares draws, and which seeds are one draw."
    if size.generators > 1:
        return np.arange(size.speakers) % size.groups, np.arange(size.seeds) % size.generators
    return np.arange(size.speakers) % size.folds, np.arange(size.seeds)


def bootstrap(
    rng: np.random.Generator,
    gains: np.ndarray,  # (experiments, seeds, speakers)
    size: Size,
    resamples: int = 200,
) -> np.ndarray:  # (2, experiments), 95 % limits
    "Percentiles over speakers, generators of a group and their seeds, drawn with replacement."
    blocks, draws = draws_of(size)
    found = np.zeros((resamples, len(gains)))
    own = [np.flatnonzero(draws == k) for k in np.unique(draws)]
    for row in found:
        who = rng.integers(0, size.speakers, size.speakers)
        for block in np.unique(blocks):
            drawn = [own[k] for k in rng.integers(0, len(own), len(own))]
            seeds = np.concatenate([rng.choice(s, len(s)) for s in drawn])
            row += gains[:, seeds][..., who[blocks[who] == block]].sum((1, 2)) / len(seeds)
    return np.percentile(found, [2.5, 97.5], axis=0)


def coverage(
    size: Size,
    spread: float,  # standard deviation of a generator's effect, points
    experiments: int,
    seed: int = 0,
    bootstrapped: int = 500,  # experiments at most that are bootstrapped
) -> dict[str, float]:
    "Share of intervals that hold the true gain, and of p-values below 0.05, in %."
    rng = np.random.default_rng(seed)
    arms, n = simulate(rng, size, spread, experiments), size.speakers
    value, each = arms[0].mean(1).sum(-1), arms[0].mean(1)  # of the first arm; the others lend
    v1 = n * each.var(-1, ddof=1)
    shared = [shared_variance(gains, *draws_of(size)) for gains in arms]
    variance, freedom = total_variance(v1, shared[0], n, shared[1:])
    half = np.sqrt(variance) * t.ppf(0.975, freedom)
    low, high = bootstrap(rng, arms[0][:bootstrapped], size) if bootstrapped else np.ones((2, 1))
    p = 2 * t.sf(np.abs(value) / np.sqrt(variance), freedom)
    return {"interval holds 0 (%)": 100 * float(np.mean(np.abs(value) <= half)),
            "p < 0.05 (%)": 100 * float(np.mean(p < 0.05)), "half width": float(half.mean()),
            "detectable": float((half + np.sqrt(variance) * t.ppf(0.8, freedom)).mean()),
            "bootstrap holds 0 (%)": 100 * float(np.mean((low <= 0) & (high >= 0)))}


if __name__ == "__main__":
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    table = pd.DataFrame([{"size": name, "generator SD": spread, **coverage(size, spread, many)}
                          for name, size in SIZES.items() for spread in SPREADS]).round(1)
    table.to_csv(Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "emodiff" / "coverage.csv",
                 index=False, lineterminator="\n")
    print(table.to_string(index=False))
