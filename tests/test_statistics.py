"""Do intervals hold the truth as often as they say? And the same numbers as scipy, statsmodels."""
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from emodiff.base.core import EmodiffError, package_dir, rng_for
from emodiff.base.settings import EMOTIONS, Protocol
from emodiff.recognition.claims import claims_table
from emodiff.recognition.statistics import (
    ArmCounts,
    arm_estimate,
    estimate_gain,
    holm,
    interval_of,
    sampling_variance,
    shared_variance,
    speaker_counts,
    summarise,
    total_variance,
)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
from coverage import OPEN, SIZES, SPREADS, coverage, draws_of, simulate  # noqa: E402


@pytest.mark.parametrize("name", ["open", "open, across corpora", "two arms across corpora"])
@pytest.mark.parametrize("spread", SPREADS)
def test_intervals_hold_the_truth_in_95_of_100_experiments(name: str, spread: float) -> None:
    "Coverage 93-97 %, test levels 4-6 %, whatever generators add; 2 standard errors of 3,000."
    found = coverage(SIZES[name], spread, 3000, bootstrapped=0)
    most = 7.0 if name.startswith("two") else 6.0  # what two arms alone cannot reach
    assert 93 - 0.9 <= found["interval holds 0 (%)"] <= 97 + 0.6
    assert 4 - 0.7 <= found["p < 0.05 (%)"] <= most + 0.9


def test_the_table_that_is_shown_is_what_the_simulation_gives() -> None:
    "Every size and spread; one row is made again with fewer experiments."
    shown = pd.read_csv(package_dir() / "coverage.csv").set_index(["size", "generator SD"])
    assert [*shown.index] == [(n, sd) for n in SIZES for sd in SPREADS]
    again, row = coverage(OPEN, 2.0, 2000, bootstrapped=0), shown.loc[("open", 2.0)]
    assert abs(again["half width"] - row["half width"]) < 0.15
    assert abs(again["interval holds 0 (%)"] - row["interval holds 0 (%)"]) < 2


def test_a_hierarchical_bootstrap_is_too_cautious() -> None:
    "It counts the noise of single results more than once."
    found = coverage(OPEN, 0.0, 400, bootstrapped=300)
    assert found["bootstrap holds 0 (%)"] > 98 > found["interval holds 0 (%)"]


def arms_of(right: list[np.ndarray], generators: np.ndarray) -> list[ArmCounts]:
    "Arms with (seeds, speakers) utterances right out of 24 of each emotion, in one block."
    made, k = [], len(EMOTIONS)
    for one in right:
        counts = np.zeros((*one.shape, k, k), np.int64)
        counts[..., range(k), range(k)] = one[..., None]
        counts[..., range(k), np.roll(range(k), 1)] = 24 - one[..., None]
        names = np.full(one.shape[1], "all")
        made.append(ArmCounts(counts, [str(i) for i in range(one.shape[1])], names, names,
                              generators))
    return made


def test_the_simulation_and_the_package_count_alike() -> None:
    "What the simulation takes in closed form is a bootstrap of speakers in the package."
    rng = rng_for("counted alike")
    right = [rng.binomial(24, 0.6, (6, 20)) for _ in range(2)]
    second, first = arms_of(right, np.arange(6) % 3)
    gains = 100 / 24 * (right[0] - right[1]) / 20
    v1 = 20 * gains.mean(0).var(ddof=1)
    variance, freedom = total_variance(
        v1, shared_variance(gains, second.groups, second.generators), 20)
    theirs = interval_of(gains.sum(1).mean(), float(variance), float(freedom), 20)
    mine = arm_estimate(second, first, resamples=20_000)
    assert np.isclose(mine.value, theirs.value) and np.isclose(mine.high, theirs.high, atol=0.1)


def test_equal_gains_of_four_speakers_are_no_certainty() -> None:
    "Neither a width nor a p of 0: the bound is the closed form of Agresti and Min."
    for right, utterances in ((15, 24), (18, 24)):
        second, first = arms_of([np.full((1, 4), right), np.full((1, 4), 12)], np.full(1, -1))
        found, n = arm_estimate(second, first, resamples=200), 4 * (4 * utterances + 2)
        changed = found.value / 100 * n  # all of them in one direction
        variance = (changed + 1 - changed**2 / n) / n**2
        assert np.isclose(found.error, 100 * variance**0.5) and found.freedom == 3
        assert found.low < found.value < found.high and 1e-4 < found.p < 0.05
    assert np.isclose(arm_estimate(second).error, 100 / n)  # equal UARs: one answer


def answers(each: int) -> pd.DataFrame:
    "The same answers of four speakers in two arms, so many of each emotion."
    return pd.DataFrame([
        {"arm": arm, "seed": 0, "fold": who, "corpus": "made up", "speaker": str(who),
         "emotion": e, "predicted": e if i else EMOTIONS[0]}
        for arm in ("real", "more") for who in range(4) for e in EMOTIONS for i in range(each)])


@pytest.mark.parametrize(("each", "verdict"), [(2, "undecided"), (8, "undecided"),
                                               (24, "equivalent")])
def test_identical_answers_gain_nothing_and_few_are_not_equivalent(each: int, verdict: str) -> None:
    "Equivalent only where so many answers resolve the margin of two points."
    found, = claims_table(answers(each), [("it helps", "", "more", "real")]).to_dict("records")
    assert (found["gain"], found["p"], found["verdict"]) == (0, 1, verdict)
    assert found["low"] == -found["high"] < 0


@pytest.mark.parametrize("name", ["open", "open, across corpora", "demo"])
def test_the_bound_is_below_what_is_measured(name: str) -> None:
    "Intervals of ordinary experiments are not touched."
    size, rng = SIZES[name], rng_for("bound", name)
    gains = simulate(rng, replace(size, arms=1), 0.0, 1000)[0]
    variance, _ = total_variance(size.speakers * gains.mean(1).var(-1, ddof=1),
                                 shared_variance(gains, *draws_of(size)), size.speakers)
    arm, = arms_of([np.full((size.seeds, size.speakers), 6)], np.full(size.seeds, -1))
    arm.counts[:] = 0
    arm.counts[..., range(4), range(4)] = size.utterances // 4
    least = [sampling_variance(arm, g) for g in gains.mean(1).sum(-1)]
    assert (variance < least).mean() < (0.02 if name == "demo" else 0.001)


def few_seeds(arms: int, rng: np.random.Generator) -> pd.DataFrame:
    "Predictions of six speakers by two recognisers per arm, which differ by five points."
    moved = rng.normal(0, 0.05, (arms, 2))
    return pd.DataFrame([
        {"arm": f"arm {a}" if a else "real", "seed": s, "fold": "all", "corpus": "made up",
         "speaker": str(who), "emotion": e, "segments": 1, "segments_found": 0,
         "predicted": e if rng.random() < 0.5 + moved[a, s] else EMOTIONS[i - 1]}
        for a in range(arms) for s in range(2) for who in range(6)
        for i, e in enumerate(EMOTIONS) for _ in range(8)])


def test_two_seeds_give_no_absurd_intervals() -> None:
    "Other arms lend what two recognisers cannot tell; no limit leaves the scale."
    rng = rng_for("two seeds")
    widths, alone = [], []
    for _ in range(12):
        p = few_seeds(5, rng)
        found = estimate_gain(p, "arm 1")
        assert -100 <= found.low <= found.value <= found.high <= 100
        widths.append(found.high - found.low)
        found = estimate_gain(p[p["arm"].isin(["real", "arm 1"])], "arm 1")
        alone.append(found.high - found.low)
    limits = summarise(p, Protocol(resamples=50))
    assert limits["low"].ge(0).all() and limits["high"].le(100).all()
    assert np.max(widths) < 0.6 * np.max(alone)


def test_where_seeds_share_nothing_speakers_decide() -> None:
    "A shared part within the noise leaves the speakers' degrees of freedom."
    gains = simulate(rng_for("nothing shared"), OPEN, 0.0, 200)[0]
    shared = shared_variance(gains, *draws_of(OPEN))
    v1 = OPEN.speakers * gains.mean(1).var(-1, ddof=1)
    variance, freedom = total_variance(v1, shared, OPEN.speakers)
    silent = shared[0] <= shared[1]
    assert silent.any() and np.allclose(freedom[silent], OPEN.speakers - 1)
    assert np.allclose(variance[silent], v1[silent]) and (variance[~silent] > v1[~silent]).all()


def test_counts_are_those_of_scikit_learn() -> None:
    "Per seed and speaker."
    from sklearn.metrics import confusion_matrix

    p = few_seeds(1, rng_for("counts"))
    found = speaker_counts(p)
    one = p[(p["seed"] == 1) & (p["speaker"] == "4")]
    assert (found.counts[1, 4] == confusion_matrix(one["emotion"], one["predicted"],
                                                   labels=EMOTIONS)).all()
    assert found.counts.sum() == len(p)


def test_intervals_and_corrections_are_those_of_scipy() -> None:
    "Student's interval of paired differences; Bonferroni's correction is never smaller."
    first, second = rng_for("scipy").normal([[0.0], [0.8]], 1, (2, 12))
    test, d = stats.ttest_rel(second, first), second - first
    mine = interval_of(d.mean(), d.var(ddof=1) / 12, 11, 12)
    assert np.allclose((mine.p, mine.low, mine.high),
                       (test.pvalue, *test.confidence_interval(0.95)))
    p = rng_for("p").random(7)
    assert (p <= holm(p)).all() and (holm(p) <= np.minimum(1, 7 * p)).all()


def test_holm_is_that_of_statsmodels() -> None:
    "Where it is installed."
    several = pytest.importorskip("statsmodels.stats.multitest")
    for seed in range(5):
        p = rng_for("holm", seed).random(9) ** 2
        assert np.allclose(holm(p), several.multipletests(p, method="holm")[1])


def test_the_variance_is_that_of_a_mixed_model() -> None:
    "REML of speakers and draws as crossed random effects, where statsmodels is installed."
    models = pytest.importorskip("statsmodels.formula.api")
    rng = rng_for("mixed model")
    n, k = 12, 6
    y = (rng.normal(0, 2, (k, 1)) + rng.normal(0, 3, (1, n)) + rng.normal(0, 1, (k, n)))
    rows = pd.DataFrame({"y": y.ravel(), "draw": np.repeat(np.arange(k), n),
                         "speaker": np.tile(np.arange(n), k), "one": 1})
    fit = models.mixedlm("y ~ 1", rows, groups="one", vc_formula={
        "draw": "0 + C(draw)", "speaker": "0 + C(speaker)"}).fit()
    shared = shared_variance(y / n, np.zeros(n), np.arange(k))
    variance, _ = total_variance((y / n).mean(0).var(ddof=1) * n, shared, n)
    assert np.isclose(np.sqrt(variance), fit.bse["Intercept"], rtol=0.01)


def test_recognisers_without_chance_count_once() -> None:
    "Six seeds that say the same are no six recognisers."
    one = answers(8)
    six = pd.concat([one.assign(seed=seed) for seed in range(6)])
    first, again = (estimate_gain(table, "more") for table in (one, six))
    assert np.isclose(first.error, again.error)


def test_arms_of_other_speakers_or_seeds_are_not_compared() -> None:
    table = answers(8)
    moved = "x" + table["speaker"]
    others = table.assign(speaker=table["speaker"].where(table["arm"] == "real", moved))
    seeds = pd.concat([table, table[table["arm"] == "real"].assign(seed=1)])
    for wrong in (others, seeds):
        with pytest.raises(EmodiffError, match="same speakers and seeds"):
            estimate_gain(wrong, "more")
    with pytest.raises(EmodiffError, match="unknown arm 'moer'"):
        estimate_gain(table, "moer")


@pytest.mark.parametrize("seeds, draws", [(3, 2), (5, 3), (6, 3)])
def test_generators_behind_unequal_numbers_of_seeds_count_in_full(seeds: int, draws: int) -> None:
    "The variance of the mean that draws share is found on average, however the seeds are dealt."
    rng, of = np.random.default_rng(0), np.arange(seeds) % draws
    weights = np.bincount(of) / seeds
    effects = rng.normal(size=(4000, draws))[:, of, None] + np.zeros((1, 1, 4))
    found, _, _ = shared_variance(effects / 4, np.zeros(4, int).astype(str), of)
    assert np.isclose(found.mean(), (weights ** 2).sum(), rtol=0.06)
