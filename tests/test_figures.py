"""Figures with awkward names and missing numbers: no text covers another or leaves the figure."""
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from emodiff.base.chapter import MOST_BYTES, save_figure
from emodiff.base.style import COLOURS, STYLE, add_caption
from emodiff.pages import figures
from emodiff.pages.pool import plot_forest
from emodiff.speech.pictures import mel_grid
from emodiff.speech.segments import Segments
from emodiff.studies.ablation import plot_samples, plot_steps
from emodiff.studies.recogniser import plot_recognisers
from emodiff.studies.search import plot_gains, plot_limits

TWELVE = ("Niedergeschlagenheit", "Überraschung", "воодушевление", "разочарование", "спокойствие",
          "Verachtung", "Ekel", "disappointment", "embarrassment", "Gelassenheit", "страх",
          "contentment")
ARMS = ("real", "real + synthetic (CycleGAN)", "Sprechgeschwindigkeit + Rauschen",
        "настоящая и синтетическая речь")
CAPTION = "A caption that goes on and on, for it says what was measured, and on whom. " * 4
RNG = np.random.default_rng(0)


def speech(emotions: tuple[str, ...]) -> Segments:
    "A segment per emotion: noise of a second, then padding."
    mels = np.full((len(emotions), 80, 256), -1, np.float16)
    mels[:, :, :90] = RNG.uniform(-0.5, 1, (len(emotions), 80, 90))
    table = pd.DataFrame([{"corpus": "c", "speaker": "s", "gender": "f", "emotion": e,
                           "text": "Hello.", "utterance": e, "session": "1", "seconds": 1.0,
                           "segment": 0, "frames": 90, "path": "", "synthetic": False}
                          for e in emotions])
    return Segments(mels, table, emotions=emotions)


def confusions(emotions: tuple[str, ...], arms: tuple[str, ...]) -> Any:
    "Fig. 3."
    k = len(emotions)
    rates = RNG.dirichlet(np.ones(k), len(arms) * k).ravel()
    return figures.plot_confusions(pd.DataFrame(
        [(a, t, p, 1) for a in arms for t in emotions for p in emotions],
        columns=["arm", "true", "predicted", "count"]).assign(rate=rates))


def curve(arms: tuple[str, ...], places: str, values: list[float], **more: Any) -> pd.DataFrame:
    "A curve per arm; the first place has no interval and no SD."
    rows = pd.DataFrame([{"arm": arm, places: x, "uar": 40 + 9 * RNG.random(), "sd": 3.0,
                          "low": 30.0, "high": 60.0, **more} for arm in arms for x in values])
    rows.loc[rows[places] == values[0], ["sd", "low", "high"]] = np.nan
    return rows


def adaptation(arms: tuple[str, ...]) -> Any:
    "Fig. 4 with two corpora."
    return figures.plot_adaptation(pd.concat(
        [curve(arms, "share", [0, 10, 25, 50], corpus=corpus) for corpus in ("CREMA-D", "ЭМО")]),
        "Sprachkorpus mit langem Namen", 12)


def gains(names: tuple[str, ...], parts: int) -> pd.DataFrame:
    "Gains with intervals; the first has none."
    rows = pd.DataFrame([{"recipe": name, "way": name, "gain": 60 * RNG.normal(), "low": -88.8,
                          "high": 88.8, "fraction": part, "fidelity (UAR %)": 50.0}
                         for part in (0.1, 0.25, 1.0)[-parts:] for name in names])
    rows.loc[rows["recipe"] == names[0], ["low", "high"]] = np.nan
    return rows


def steps(samplers: tuple[str, ...]) -> Any:
    "Quality against steps."
    rows = pd.DataFrame([{"sampler": s, "steps": n} for s in samplers
                         for n in (4, 6, 10, 12, 25, 50, 100, 250, 4000)])
    for name in ("mad", "frechet", "uar"):
        rows[name], rows[f"{name}_low"] = 50.0, np.nan
        rows[f"{name}_high"] = np.where(rows["steps"] < 10, np.nan, 140)
    return plot_steps(rows)


def diffusion(times: tuple[int, ...]) -> Any:
    "Fig. 1."
    mel = speech(("sad",)).mels[0].astype(np.float32)
    return figures.plot_diffusion({t: mel for t in times}, {t: mel[:, ::-1] for t in times})


def learning(folder: Path) -> Any:
    "A learning curve."
    n = np.arange(1, 200)
    history = pd.DataFrame({"step": n, **{name: 1 / n for name in (
        "loss", "mse", "vb", "loss_q1", "loss_q2", "loss_q3", "loss_q4")},
        "validation_bits": np.where(n % 50, np.nan, 4.0)})
    history.to_csv(folder / "history.csv", index=False)
    return figures.plot_learning(SimpleNamespace(generator=SimpleNamespace(folder=folder)))


def pooled(corpora: tuple[str, ...]) -> Any:
    "The forest plot over corpora."
    rows = gains((*corpora, "any corpus"), 1).rename(columns={"recipe": "corpus"})
    return plot_forest(pd.concat([rows.assign(
        comparison=name, weight=50.0, folder=[*corpora, ""]) for name in ARMS[:2]]))


DRAWN: dict[str, Callable[[Path], Any]] = {
    "fig1": lambda _: diffusion((0, 111, 995, 1769, 2764, 3980)),
    "fig1, one step": lambda _: diffusion((0,)),
    "fig2": lambda _: figures.plot_mel_pairs(speech(TWELVE), speech(TWELVE[:11]))[0],
    "fig2, one emotion": lambda _: figures.plot_mel_pairs(speech(TWELVE[:1]), speech(TWELVE))[0],
    "fig3": lambda _: confusions(TWELVE, ARMS[1:3]),
    "fig3, one arm": lambda _: confusions(("angry", "happy", "neutral", "sad"), ARMS[1:2]),
    "fig3, five arms": lambda _: confusions(("angry", "happy", "neutral", "sad"),
                                            figures.FIG3_ARMS),
    "fig4": lambda _: adaptation(ARMS),
    "fig4, one arm": lambda _: adaptation(ARMS[:1]),
    "share": lambda _: figures.plot_share_curve(curve(ARMS[:1], "share", [0, 0.25, 0.5, 1, 2])),
    "low resource": lambda _: figures.plot_low_resource(
        curve(ARMS, "fraction", [0.05, 0.1, 0.25, 0.5, 1])),
    "low resource, one arm": lambda _: figures.plot_low_resource(curve(ARMS[:1], "fraction", [1])),
    "learning": learning,
    "gains": lambda _: plot_gains(gains((*TWELVE, *ARMS), 3)),
    "gains, one": lambda _: plot_gains(gains(ARMS[3:], 1)),
    "limits": lambda _: plot_limits(gains((*TWELVE, *ARMS), 1)),
    "limits, one": lambda _: plot_limits(gains(ARMS[2:3], 1)),
    "recognisers": lambda _: plot_recognisers(pd.DataFrame({
        "corpus": "Берлин", "recogniser": [*TWELVE, *ARMS, "linear"], "uar": 50.0, "sd": np.nan})),
    "recognisers, three corpora": lambda _: plot_recognisers(pd.concat([pd.DataFrame({
        "corpus": name, "recogniser": ["the preset", "linear"], "uar": [51.0, 50.0], "sd": 1.0})
        for name in ("RAVDESS", "EmoDB", "URDU")])),
    "steps": lambda _: steps(("ancestral", "ddim", "Verfahren von Heun", "dpm")),
    "steps, one": lambda _: steps(("dpm",)),
    "samples": lambda _: plot_samples({name: SimpleNamespace(segments=speech(TWELVE))
                                       for name in (*ARMS, "eps")}),  # type: ignore[dict-item]
    "pooled": lambda _: pooled(("RAVDESS", "Berliner Datenbank", "речь")),
    "Mels": lambda _: mel_grid([speech(TWELVE[:6]).mels, [None, *speech(TWELVE[:2]).mels]],
                               TWELVE[4:6], [TWELVE[:6], TWELVE[6:9]])}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Text]]:
    "The texts that are drawn: labels out of an axis' range are not among them."
    seen: list[Text] = []
    draw = Text.draw

    def noted(self: Text, renderer: Any, *rest: Any, **named: Any) -> Any:
        if self.get_text().strip() and self.get_visible():
            seen.append(self)
        return draw(self, renderer, *rest, **named)

    monkeypatch.setattr(Text, "draw", noted)
    yield seen
    plt.close("all")


@pytest.mark.parametrize("name", DRAWN)
def test_no_text_covers_another_or_leaves_the_figure(
    name: str, tmp_path: Path, written: list[Text],
) -> None:
    figure = DRAWN[name](tmp_path)
    add_caption(figure, CAPTION)
    written.clear()
    figure.draw_without_rendering()
    texts = list(dict.fromkeys(written))
    box = np.array([text.get_window_extent().extents for text in texts])  # x0, y0, x1, y1
    assert CAPTION.split()[0] in " ".join(t.get_text() for t in texts) and len(texts) > 4
    whole = figure.bbox.padded(1).extents  # a dot for the edges of letters
    out = (box[:, :2] < whole[:2]).any(1) | (box[:, 2:] > whole[2:]).any(1)
    assert not out.any(), f"{[texts[i] for i in np.flatnonzero(out)]} leave the figure"
    # a line is higher than its letters: neighbours may touch by a fifth of the smaller side
    slack = 0.1 * (box[:, 2:] - box[:, :2]).min(1, keepdims=True)
    low, high = box[:, :2] + slack, box[:, 2:] - slack
    covered = ((low[:, None] < high[None]) & (low[None] < high[:, None])).all(-1)
    pairs = np.argwhere(np.triu(covered, 1))
    assert not len(pairs), f"{[(texts[i], texts[j]) for i, j in pairs]} cover each other"


def test_pdfs_hold_truetype_and_pngs_are_small(tmp_path: Path) -> None:
    figure = confusions(TWELVE[:5], ARMS[:2])
    png = save_figure(figure, "f", tmp_path, CAPTION, pdf=True)
    pdf = png.with_suffix(".pdf").read_bytes()
    assert b"/TrueType" in pdf or b"/CIDFontType2" in pdf
    assert b"/Type3" not in pdf and png.stat().st_size <= MOST_BYTES


def test_colours_can_be_told_apart_by_everybody() -> None:
    "Luminance or blue differs, also without red or without green (Machado's matrices)."
    colours = np.array([matplotlib.colors.to_rgb(c) for c in COLOURS]) ** 2.2
    protan = [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]
    deutan = [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    for matrix in (np.eye(3), protan, deutan):
        seen = np.clip(colours @ np.array(matrix).T, 0, 1) ** (1 / 2.2)
        far = np.abs(seen[:, None] - seen[None]).max(-1) + np.eye(len(seen))
        assert far.min() > 0.1
    assert STYLE["pdf.fonttype"] == 42
