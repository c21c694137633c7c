"""The listening page and RESULTS.md: same bytes, no fetches, licences, hostile names, faults."""
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emodiff.base.chapter import save_table
from emodiff.base.core import error_message, write_text
from emodiff.base.settings import EMOTIONS, load_preset
from emodiff.pages.listening import listening_page
from emodiff.pages.results import results_md
from emodiff.speech.corpora import licence_of
from emodiff.speech.segments import Segments

SMOKE = load_preset("smoke")
pytestmark = pytest.mark.filterwarnings("ignore:no vocoder named")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    "The home of all tests here: a Mel that was spoken once comes from the run cache."
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMODIFF_HOME", str(home := tmp_path_factory.mktemp("home")))
        yield home


def segments(corpus: str, synthetic: bool, speaker: str = "A", text: str = "hello") -> Segments:
    "One speaker with four emotions: noise in a band."
    rng = np.random.default_rng(int(synthetic))
    mels = np.full((4, 80, 256), -1.0, np.float32)
    for i in range(4):
        mels[i, 10 * i:10 * i + 20, :60 + 10 * i] += rng.random((20, 60 + 10 * i))
    return Segments(mels.astype(np.float16), pd.DataFrame(
        [{"corpus": corpus, "speaker": speaker, "gender": "", "text": text, "emotion": emotion,
          "utterance": f"{synthetic}{emotion}", "segment": 0, "frames": 60 + 10 * i,
          "synthetic": synthetic, "path": ""} for i, emotion in enumerate(EMOTIONS)]))


@pytest.mark.parametrize(("corpus", "standin", "players"), [
    ("made up", True, 12), ("RAVDESS", False, 12), ("CREMA-D", False, 4), ("EmoDB", False, 4),
    ("URDU", False, 0), ("IEMOCAP", False, 0), ("MSP-IMPROV", False, 0),
    ("a friend's corpus", False, 0)])
def test_the_licence_decides_what_is_heard(
    folder: Path, corpus: str, standin: bool, players: int,
) -> None:
    both = segments(corpus, False), segments(corpus, True)
    path = listening_page(folder / corpus, *both, "", SMOKE, standin)
    page = path.read_text("utf-8")
    assert page.count("<audio") == players and page.count("<img") == 12
    assert listening_page(folder / "again", *both, "", SMOKE, standin).read_bytes() == \
        path.read_bytes()
    assert "http:" not in page and "https:" not in page
    links = re.findall(r"""(?:src|href)=["']([^"']{0,10})""", page)
    assert links and all(link.startswith("data:") for link in links)


def test_notes_name_the_terms() -> None:
    note = licence_of("RAVDESS").note
    assert "CC BY-NC-SA 4.0" in note and "Livingstone" in note and "Changed here" in note
    assert "research only" in licence_of("URDU").note
    assert not licence_of("a friend's corpus").synthetic


def test_hostile_names_stay_text(folder: Path) -> None:
    evil = "<script>alert('1')</script>", '"><img src=x onerror=alert(2)>'
    both = segments("made up", False, *evil), segments("made up", True, *evil)
    page = listening_page(folder / "evil", *both, "", SMOKE, standin=True).read_text("utf-8")
    assert page.count("<script>") == 1 and "<img src=x" not in page
    assert "&lt;script&gt;" in page and page.count("<img") == 12


def test_results_refuse_what_they_cannot_read(tmp_path: Path) -> None:
    assert "reproduce" in error_message(results_md, tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "reproduce" in error_message(results_md, tmp_path / "empty")
    write_text(tmp_path / "table3_claims.csv", "claim\nx\n")
    assert "lacks the columns" in error_message(results_md, tmp_path)


def test_results_know_only_what_git_tracks(tmp_path: Path) -> None:
    save_table(pd.DataFrame({"mad": [0.25]}), "table1_mad", tmp_path, "Table 1.")
    before = results_md(tmp_path).read_bytes()
    (tmp_path / "fig1_diffusion.pdf").write_bytes(b"made on demand")
    assert results_md(tmp_path).read_bytes() == before
    assert b"table1_mad.csv" in before and b"pdf" not in before.lower()
