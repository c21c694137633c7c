"""What the studies of `emodiff.studies` need a GPU or a broken import for."""
import sys

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
    from emodiff.studies.peers import growth

    monkeypatch.setenv("PYTHONPATH", "")
    said = error_message(growth, ["everything"], (1,))
    assert said.startswith("the benchmark everything x 1 failed: ") and "prepare" in said


def test_a_search_that_leaks_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    from emodiff.base.core import EmodiffError
    from emodiff.studies.search import _no_leak

    _no_leak(pd.DataFrame())
    with pytest.raises(EmodiffError, match="the search leaks"):
        _no_leak(pd.DataFrame([{"cell": 0, "rule": "speaker"}]))


def test_the_chapter_cites_the_committed_table_of_recognisers() -> None:
    "Chapter 06's numbers of RAVDESS are those of figures/open."
    import json
    from pathlib import Path

    import pandas as pd

    root = Path(__file__).resolve().parent.parent
    chapter = json.loads((root / "nbs/06_beyond_the_paper.ipynb").read_text("utf-8"))
    text = "\n".join("".join(cell["source"]) for cell in chapter["cells"])
    for name in ("beyond_recogniser", "beyond_recogniser_confirmed"):
        for row in pd.read_csv(root / "figures/open" / f"{name}.csv").itertuples():
            start = f"| {row.recogniser} |"
            line = next(line for line in text.splitlines() if line.startswith(start))
            assert f"{row.uar:.1f}" in line
            gain = f"{row.gain:.1f} [{row.gain_low:.1f}, {row.gain_high:.1f}]"
            assert pd.isna(row.gain) or gain in line, line
