"""What the studies of `emodiff.studies` need a GPU or a broken import for."""
import sys
from pathlib import Path

import pytest
import torch


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_the_speed_of_sampling_at_the_papers_size() -> None:
    from emodiff.base.settings import load_preset
    from emodiff.generator.denoiser import DenoiserNet
    from emodiff.generator.diffusion import make_chain
    from emodiff.generator.sampling import Generator
    from emodiff.studies.peers import sampling_speed

    paper = load_preset("paper")
    net = DenoiserNet(paper.denoiser, 768, 1).to("cuda").eval().requires_grad_(False)
    speed = sampling_speed(Generator(net, make_chain(paper.diffusion), paper, prompt=(1, 768),
                                     device="cuda"))
    print(speed)
    assert 0 < speed["share"] < 1


def test_a_peer_that_fails_to_import_leaves_no_stub_behind() -> None:
    from emodiff.studies.peers import RaceWork, diffusion_races

    before = {name for name in sys.modules if name.startswith("torchvision")}
    training, sampling, missing = diffusion_races(RaceWork(channels=16, batch=2), 2)
    assert {name for name in sys.modules if name.startswith("torchvision")} == before
    assert len(training) + len(missing) == 5 and "emodiff" in sampling


def test_a_growth_case_that_fails_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    from emodiff.base.core import error_message
    from emodiff.studies.growth import growth

    monkeypatch.setenv("PYTHONPATH", "")
    said = error_message(growth, {"everything": (1,)})
    assert said.startswith("the benchmark everything of 1 failed: ") and "prepare" in said


def test_a_search_that_leaks_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    from emodiff.base.core import EmodiffError
    from emodiff.studies.search import stop_at_leak

    stop_at_leak(pd.DataFrame())
    with pytest.raises(EmodiffError, match="the search leaks"):
        stop_at_leak(pd.DataFrame([{"cell": 0, "rule": "speaker"}]))


def test_the_chapter_cites_the_committed_table_of_recognisers() -> None:
    "Chapter 06's numbers of recorded speech are those of figures/open."
    import json

    import pandas as pd

    from emodiff.studies.recogniser import mean_over_corpora

    root = Path(__file__).resolve().parent.parent
    chapter = json.loads((root / "nbs/06_beyond_the_paper.ipynb").read_text("utf-8"))
    text = "\n".join("".join(cell["source"]) for cell in chapter["cells"])
    found = pd.read_csv(root / "figures/open/beyond_recogniser.csv")
    for row in mean_over_corpora(found).to_dict("records"):
        line = next(x for x in text.splitlines() if x.startswith(f"| {row['recogniser']} |"))
        for column in ("RAVDESS", "EmoDB", "URDU", "mean"):
            assert f"| {row[column]:.1f} |" in line
        assert row["recogniser"] == "linear" or f"{row['over linear']:+.1f}" in line
    confirmed = pd.read_csv(root / "figures/open/beyond_recogniser_confirmed.csv")
    for row in confirmed.itertuples():
        start = f"| {row.corpus} | {row.recogniser} | {row.uar:.1f} "
        line = next(x for x in text.splitlines() if x.startswith(start))
        assert pd.isna(row.gain) or (
            f"{row.gain:.1f} [{row.gain_low:.1f}, {row.gain_high:.1f}]" in line)
    loud = pd.read_csv(root / "figures/open/beyond_recogniser_loudness.csv")
    last = text[text.index("Loudness kept, on RAVDESS"):]
    assert all(f"{uar:.1f}" in last for uar in loud["uar"])


def test_chapter_04_cites_the_committed_tables() -> None:
    "Its numbers of recorded speech are those of figures/open."
    import json

    import pandas as pd

    from emodiff.recognition.evidence import read_evidence
    from emodiff.recognition.statistics import estimate_gain

    root = Path(__file__).resolve().parent.parent
    cells = json.loads((root / "nbs/04_within_corpus.ipynb").read_text("utf-8"))["cells"]
    text = next("".join(c["source"]) for c in cells if "On recorded speech" in "".join(c["source"]))
    gains = {}
    for folder in ("open", "open-EmoDB", "open-URDU"):
        found = pd.read_csv(root / f"figures/{folder}/table2_within_corpus.csv").set_index("arm")
        gains[folder] = found[["uar", "linear_uar"]] - found.loc["real", ["uar", "linear_uar"]]
    for arm in ("real + synthetic", "real + speed", "real + synthetic + speed", "duplicated real",
                "real + synthetic (leaky)"):
        shown = [f"{g['uar'][arm]:+.1f} / {g['linear_uar'][arm]:+.1f}" if arm in g.index else ""
                 for g in gains.values()]
        assert f"| {arm} | {' | '.join(shown)} |" in text
    pooled = pd.read_csv(root / "figures/open/pooled.csv")
    for comparison, rows in pooled[pooled["folder"].isna()].groupby("comparison"):
        shown = [f"{r.gain:+.1f} [{r.low:+.1f}, {r.high:+.1f}]" for r in rows.itertuples()]
        assert f"| {comparison} | {' | '.join(shown)} |" in text
    asked = [pd.read_csv(root / f"figures/open/table2_{name}.csv").set_index("claim")
             for name in ("claims", "controls_claims", "leak_claims")]
    claims = pd.concat(asked)
    for claim, sign in (("synthetic data added to real data improves recognition", "+"),
                        ("does it help more than speed perturbation", "+"),
                        ("does a generator that heard the test speakers raise the gain of "
                         "synthetic speech", "")):
        row = claims.loc[claim]
        assert f"[{row['low']:{sign}.1f}, {row['high']:{sign}.1f}]" in text
        assert f"{row['gain']:{sign}.1f} points" in text
    leaky = estimate_gain(read_evidence(root / "figures/open")["within"].of("within"),
                          "real + synthetic (leaky)")
    assert f"{leaky.value:+.1f} points [{leaky.low:+.1f}, {leaky.high:+.1f}]" in text
    sides = [read_evidence(root / f"figures/{name}")["within"] for name in ("open", "open-LOSO")]
    real, both, speed, leaky_arm = ("real", "real + synthetic", "real + speed",
                                    "real + synthetic (leaky)")
    for name, arm, control in ((f"{both} minus {real}", both, real),
                               (f"{both} minus {speed}", both, speed),
                               (f"{speed} minus {real}", speed, real),
                               (f"{leaky_arm} minus {real}", leaky_arm, real),
                               ("leaky minus clean", leaky_arm, both)):
        found = [estimate_gain(rows, arm, control) for e in sides
                 for rows in (e.of("within"), e.judged_of("within")["linear"])]
        shown = [f"{g.value:+.1f} [{g.low:+.1f}, {g.high:+.1f}]" for g in found]
        assert f"| {name} | {shown[0]} / {shown[1]} | {shown[2]} / {shown[3]} |" in text
    gans = pd.read_csv(root / "figures/open-GAN/table2_within_corpus.csv").set_index("arm")
    for name, kind in (("diffusion", ""), ("cGAN [21]", " (cGAN)"),
                       ("CycleGAN [36]", " (CycleGAN)"), ("GAN + mixup [22]", " (GAN + mixup)")):
        shown = [f"{gans['uar'][arm + kind]:.1f} / {gans['linear_uar'][arm + kind]:.1f}"
                 for arm in ("synthetic", both)]
        assert f"| {name} | {' | '.join(shown)} |" in text
    asked = pd.read_csv(root / "figures/open-GAN/table2_claims.csv").set_index("claim")
    for claim in ("synthetic beats that of [21] (cGAN)", "synthetic beats that of [36] (CycleGAN)",
                  "synthetic beats that of [22] (GAN + mixup)",
                  "synthetic data added to real data improves recognition"):
        assert f"[{asked['low'][claim]:+.1f}, {asked['high'][claim]:+.1f}]" in text, claim
    row = claims.loc["does it add to speed perturbation"]
    assert f"{-row['gain']:.1f} points away [{-row['high']:.1f}, {-row['low']:.1f}]" in text


def test_a_race_that_is_killed_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    "A toy entrant: what its samples are, which are not drawn again, and whose folder it is."
    import itertools
    import types

    from emodiff.base.core import error_message
    from emodiff.generator.checkpoints import read_tensors
    from emodiff.generator.training import TrainingState
    from emodiff.studies.quality_race import Entrant, run_entrant

    def toy(kill: int) -> Entrant:
        "Two weights that Adam moves; a step is an error after so many."
        net = torch.nn.Linear(2, 1, bias=False)
        torch.nn.init.ones_(net.weight)
        state = TrainingState(net, [torch.optim.Adam(net.parameters(), 0.1)], ["weight"],
                              ("n", "loss"))

        def step(share: float) -> None:
            "Towards zero, faster late: the share of the time must be gone on with, too."
            if state.step == kill:
                raise KeyboardInterrupt
            state.optimisers[0].zero_grad()
            (net.weight.square().sum() * (1 + share)).backward()
            state.optimisers[0].step()
            state.average(0.5)
            state.step += 1

        def sample(plan: object) -> types.SimpleNamespace:
            "The averaged weights."
            drawn.append(state.step)
            return types.SimpleNamespace(mels=state.ema["weight"].numpy().copy())

        return Entrant(state, step, sample)

    def run(folder: str, kill: int = -1) -> torch.Tensor:
        "A race of 30 steps, a second each by its clock."
        ticks = itertools.count()
        run_entrant("toy", toy(kill), None, tmp_path / folder, "key", (0.2, 0.5),
                    lambda: next(ticks))
        return read_tensors(tmp_path / folder / "samples-0.5.safetensors")[0]["mels"]

    drawn: list[int] = []
    through = run("through")
    assert drawn == [12, 30]
    with pytest.raises(KeyboardInterrupt):
        run("killed", kill=20)
    assert torch.equal(run("killed"), through) and drawn == [12, 30, 12, 30]
    run("killed")
    assert drawn == [12, 30, 12, 30]  # nothing was left to do
    (tmp_path / "killed" / "samples-0.5.safetensors").unlink()
    other = (toy(-1), None, tmp_path / "killed", "other key")
    assert "made with other settings" in error_message(run_entrant, "toy", *other)
