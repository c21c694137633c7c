"""What the paper asserts beside its tables: planted effects are found, planted nothing is not."""
import numpy as np
import pandas as pd
import pytest

from emodiff.base.settings import GANS, Classifier, load_preset, replace
from emodiff.generator.diffusion import make_chain, respace
from emodiff.generator.likelihood import PerfectDenoiser, bits_per_dimension
from emodiff.recognition.classifier import made_up_segments
from emodiff.recognition.fidelity import collapse_check, collapse_judges
from emodiff.speech.segments import Segments, concat
from emodiff.studies import assertions, convolutions

SMOKE = load_preset("smoke")


def test_a_wrong_variance_costs_bits() -> None:
    "The perfect network for Gaussian data: with a fixed variance in place of its own, it loses."
    rng, parts = np.random.default_rng(0), []
    x = rng.normal(0.1, 0.2, (8, 80, 256)).clip(-1, 1).astype(np.float32)
    for name, variance in (("IDDPM", "learned_range"), ("fixed", "fixed_large")):
        whole = make_chain(replace(SMOKE.diffusion, variance=variance))
        for steps in (8, 25):
            chain = respace(whole, steps)
            perfect = PerfectDenoiser(respace(make_chain(SMOKE.diffusion), steps))
            bits = bits_per_dimension(chain, perfect, x, steps)[2]
            parts.append(pd.DataFrame({"process": name, "draw": 0, "block": "all", "steps": steps,
                                       "speaker": list("aabbccdd"), "bits": bits}))
    bits = pd.concat(parts)
    saved = assertions.bits_saved(bits, "IDDPM", "fixed", 25)
    found = assertions.asserted([("a learned variance helps", "3.1", saved),
                                 ("a fixed one does", "3.1",
                                  assertions.bits_saved(bits, "fixed", "IDDPM", 25))])
    assert found["verdict"].tolist() == ["supported", "contradicted"]
    assert assertions.bits_saved(bits, "IDDPM", "fixed", 8, 25)["low"] > 0  # fewer steps cost more


def speakers_of(name: str, tilt: float, n: int = 96) -> Segments:
    "Made-up speech of eight speakers, each with a spectrum of its own; `tilt` is the corpus's."
    made = made_up_segments(n, seed=len(name), speakers="ABCDEFGH")
    rng = np.random.default_rng(len(name))
    own = {s: rng.normal(0, 0.05, (80, 1)) for s in "ABCDEFGH"}
    shape = np.stack([own[s] for s in made.table["speaker"]]) + np.linspace(0, tilt, 80)[:, None]
    speech = np.where(made.mels > -1, made.mels + shape, made.mels)
    return Segments(speech.astype(np.float16), made.table.assign(corpus=name))


def test_halves_are_not_told_apart_and_corpora_are() -> None:
    corpora = {"one": speakers_of("one", 0), "another": speakers_of("another", 0.6)}
    table, pairs = assertions.corpora_alike(corpora)
    rows = table.set_index("of")
    assert rows.at["one and another", "told_low"] > 80
    assert rows.at["one and another", "frechet_low"] > rows.at["halves of one", "frechet_high"]
    for half in ("halves of one", "halves of another"):
        assert rows.at[half, "told_low"] < 50 + 15 and rows.at[half, "told apart"] < 75
    assert table["segments"].nunique() == 1  # one number of segments for all
    found = assertions.alike_difference(pairs, ("one", "one"), ("one", "another"))
    assert found["low"] > 0


def test_a_collapsed_generator_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    "Good samples pass; one sample over and over is a collapse, however well it is heard."
    real, good = made_up_segments(96), made_up_segments(96, seed=1)
    kind = good.table.groupby(["emotion", "speaker"]).ngroup().to_numpy()
    same = good.take([np.flatnonzero(kind == k)[0] for k in kind])
    settings = replace(SMOKE, classifier=replace(SMOKE.classifier, steps=120, lr=1e-2))
    judges = collapse_judges(real, settings, judges=1)

    def outcome(study: object, kind: str, *args: object) -> pd.DataFrame:
        "The CycleGAN repeats itself."
        made = same if kind == "CycleGAN" else good
        return collapse_check(real, made, settings, judges=judges).assign(frechet=1.0)

    monkeypatch.setattr(assertions, "training_outcome", outcome)
    study = assertions.Study(real, real, real, pd.DataFrame())
    found = assertions.training_outcomes(study, settings, 2)
    assert set(found.loc[found["collapsed"], "generator"]) == {"CycleGAN"}
    counted = assertions.stability_table(found).set_index("generator")["collapsed"]
    assert counted.to_dict() == {"IDDPM": 0, "cGAN": 0, "CycleGAN": 2, "GAN + mixup": 0}
    difference = assertions.collapse_difference(found)
    assert difference["gain"] == pytest.approx(100 / 3) and difference["low"] < 0  # two are few


def test_spread_over_seeds_is_found_only_where_it_is() -> None:
    kinds, rng = np.repeat(["IDDPM", *GANS], 8), np.random.default_rng(1)
    noise, shift = rng.normal(size=32), 20.0 * (kinds == "cGAN")
    same = pd.DataFrame({"generator": kinds, "collapsed": False, "fidelity": noise + shift,
                         "frechet": np.exp(noise)})
    wild = same.assign(fidelity=shift + noise * np.where(kinds == "IDDPM", 1, 8))
    verdicts = [assertions.asserted(assertions.stability_claims(x))["verdict"].tolist()
                for x in (same, wild)]
    assert verdicts == [["undecided"] * 3, ["undecided", "supported", "undecided"]]


def test_the_last_state_and_the_only_look_are_one_network(home: object) -> None:
    "Both arms have one trajectory: with one look, at the end, there is nothing to choose."
    real = concat([speakers_of("one", 0)])
    one_look = replace(SMOKE.classifier, looks=1, steps=4)
    settings = replace(SMOKE, classifier=one_look, protocol=replace(
        SMOKE.protocol, fold_speakers=4, validation_speakers=1))
    table, found = assertions.selection_study(real, settings)
    assert table.set_index("arm").at[assertions.BEST, "gain"] == 0
    columns = [c for c in found if c.startswith("p_")]
    arms = dict(list(found.groupby("arm")))
    last, every = arms[assertions.LAST], arms[assertions.ALL]
    assert (last[columns].to_numpy() != every[columns].to_numpy()).any()
    verdict = assertions.asserted([("", "5.2", assertions.selection_difference(found))])
    assert verdict["verdict"].tolist() in (["equivalent"], ["undecided"])
    assert Classifier().looks == 10  # the 'ten looks' of the chapter


def test_a_width_costs_a_step_as_much_time(home: object, monkeypatch: pytest.MonkeyPatch) -> None:
    "Of steps that take 1, 2, 3 ... units at widths 4, 8, 12 ..., the nearest to 2.2 is at 8."
    cost = {0: 2.2} | {width: width / 4 for width in range(4, 200, 4)}
    monkeypatch.setattr(convolutions, "racer", lambda study, settings, patch, width=0: width)
    monkeypatch.setattr(convolutions, "_step_seconds", lambda width, steps: cost[width])
    monkeypatch.setattr(convolutions, "step_memory", float)
    assert convolutions.fitted_width(None, SMOKE, 1)["width"] == 8
    assert convolutions.fitted_width(None, SMOKE, 0)["width"] == SMOKE.denoiser.channels
