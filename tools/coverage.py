"""How often the intervals of gains hold the truth, in simulated experiments of many sizes.

    python tools/coverage.py [EXPERIMENTS]      minutes; prints a table

A gain of 0 is simulated: speakers of different skill, whom synthetic speech helps differently,
recognisers that vary with their seed, and generators that move all speakers of their group. An
interval should hold the 0 in 95 % of experiments, and its p-value be below 0.05 in 5 %.
"""
import sys

import numpy as np
import pandas as pd

from emodiff.recognition.statistics import ArmCounts, arm_estimate

SIZES = {  # speakers, speaker groups, recogniser seeds, generators per group
    "open": (24, 2, 6, 3), "ten speakers": (10, 2, 6, 3), "three seeds": (24, 2, 3, 3),
    "four groups": (24, 4, 6, 3), "six generators": (24, 2, 12, 6),
    "one generator": (24, 2, 6, 1)}
SPREADS = (0.0, 2.0, 4.0)  # standard deviation of a generator's effect, points of UAR


def simulate(
    rng: np.random.Generator,
    size: tuple[int, int, int, int],  # speakers, groups, seeds, generators per group
    spread: float,  # standard deviation of a generator's effect, points
    gain: float = 0.0,  # the true gain, points
) -> tuple[ArmCounts, ArmCounts]:  # real + synthetic, real
    "Counts of two arms, six utterances per speaker and emotion."
    speakers, groups, seeds, generators = size
    group, number = np.arange(speakers) % groups, np.arange(seeds) % generators
    skill = rng.normal(0.6, 0.08, speakers)
    helped = rng.normal(gain / 100, 0.03, speakers)
    moved = rng.normal(0, spread / 100, (groups, generators))[group][:, number].T
    names = group.astype(str)
    arms = []
    for extra, used in ((helped + moved, number), (0.0, np.full(seeds, -1))):
        seed = rng.normal(0, 0.015, (seeds, groups))[:, group]
        right = rng.binomial(6, np.repeat(np.clip(skill + extra + seed, .02, .98)[..., None], 4, 2))
        counts = np.zeros((seeds, speakers, 4, 4), np.int64)
        counts[:, :, range(4), range(4)] = right
        counts[:, :, range(4), (1, 2, 3, 0)] = 6 - right
        arms.append(ArmCounts(counts, [str(i) for i in range(speakers)], names, names, used))
    return arms[0], arms[1]


def coverage(size: tuple[int, int, int, int], spread: float, experiments: int) -> dict[str, float]:
    "Share of intervals that hold the true gain, and of p-values below 0.05, in %."
    rng = np.random.default_rng(0)
    found = [arm_estimate(*simulate(rng, size, spread), resamples=200) for _ in range(experiments)]
    return {"interval holds 0 (%)": 100 * float(np.mean([e.low <= 0 <= e.high for e in found])),
            "p < 0.05 (%)": 100 * float(np.mean([e.p < 0.05 for e in found])),
            "half width": float(np.mean([(e.high - e.low) / 2 for e in found])),
            "detectable": float(np.mean([e.detectable for e in found]))}


if __name__ == "__main__":
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(pd.DataFrame([{"size": name, "generator SD": spread, **coverage(size, spread, many)}
                        for name, size in SIZES.items() for spread in SPREADS]
                       ).round(1).to_string(index=False))
