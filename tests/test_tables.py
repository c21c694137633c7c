"""speech.tables: what can be wrong with a table, and tables made up by hypothesis."""
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_text import BLOBS, FUZZ, TEXTS, calm
from voice import tiny

from emodiff.base.core import error_message
from emodiff.base.settings import EMOTIONS, load_preset
from emodiff.speech.corpora import MANIFEST_COLUMNS
from emodiff.speech.standins import STANDINS, load_corpus
from emodiff.speech.tables import clean_cell, read_audformat, read_csv, write_csv

CLIPS = ["one/x.wav", "two/x.wav", "y.wav", "z.wav", "z é.wav"]
WORDS = st.text(st.characters(codec="utf-8"), max_size=20)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A folder with five clips."
    folder = tmp_path_factory.mktemp("mine")
    for clip in CLIPS:
        tiny(folder / clip)
    return folder


def test_wrong_tables_are_one_sentence(mine):
    "Missing columns, no emotion, an empty file, an endless field, wrong paths."
    wrong = mine / "wrong.csv"
    for text in ("name,emotion\n", "file,speaker,emotion\ny.wav,a,\n", "",
                 '"' + "x" * 200_000):
        wrong.write_text(text)
        message = error_message(read_csv, wrong)
        assert message.endswith(".") and message.isprintable(), message
    for call in ((read_csv, mine / "none.csv"), (read_csv, mine),
                 (read_csv, wrong, {"Wut": "rage"}), (read_audformat, mine)):
        assert error_message(*call).endswith(".")


def test_the_four_standins_come_back_equal_from_one_table(home):
    "All corpora in one CSV: every column of every row as it was."
    everyone = pd.concat([load_corpus(c, standin=load_preset("smoke").standin) for c in STANDINS],
                         ignore_index=True)
    everyone.attrs.clear()
    again = read_csv(write_csv(everyone, home / "data" / "all.csv"))
    pd.testing.assert_frame_equal(everyone, again)


@FUZZ
@given(data=BLOBS | st.lists(st.lists(TEXTS, max_size=5).map(",".join), max_size=5).map(
    lambda rows: "\n".join(["file,speaker,emotion,text", *rows]).encode("utf-8", "replace")))
def test_tables_of_any_bytes(mine, data):
    "A CSV or an audformat header of any bytes ends in a manifest or in one sentence."
    (mine / "fuzz.csv").write_bytes(data)
    m = calm(read_csv, mine / "fuzz.csv")
    assert m is None or (m.emotion != "").all()
    (mine / "db.yaml").write_bytes(data)
    (mine / "db.t.csv").write_bytes(data)
    calm(read_audformat, mine)
    (mine / "db.yaml").write_text("tables: {t: {}}\n")
    calm(read_audformat, mine)
    (mine / "db.yaml").unlink()


@FUZZ
@given(people=st.lists(st.tuples(WORDS.filter(clean_cell), WORDS, WORDS, st.sampled_from(EMOTIONS),
                                 st.sampled_from(["female", "male", ""])), min_size=1, max_size=5))
def test_a_csv_comes_back_equal(mine, people):
    "Whatever the names and texts hold, but for blanks around them and the form of accents."
    rows = [{"path": str(mine / clip), "corpus": "mine", "utterance": f"u{i}",
             "speaker": speaker, "session": session, "gender": gender, "emotion": emotion,
             "text": text, "seconds": 0.1}
            for i, (clip, (speaker, session, text, emotion, gender)) in enumerate(
                zip(CLIPS, people, strict=False))]
    m = pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS))
    again = read_csv(write_csv(m, mine / "fuzz.csv"))
    clean = m.assign(text=m["text"].map(clean_cell))
    for column in ("speaker", "session"):  # names are one line
        clean[column] = [" ".join(clean_cell(value).split()) for value in m[column]]
    pd.testing.assert_frame_equal(clean, again)
