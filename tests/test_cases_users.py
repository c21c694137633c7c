"""Inputs that real users have had: each test is a case that once went wrong, with a small input."""
import contextlib
import os
import shutil
import struct
import sys
import types
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from typer.testing import CliRunner
from voice import babble, tiny

from emodiff.app.cli import _plain, app
from emodiff.augment import run as run_module
from emodiff.augment.advice import SpeechQuality, advise
from emodiff.augment.cost import TEST_ARMS, count_work, estimate_cost, told_before
from emodiff.augment.delivery import joint_table, open_folder
from emodiff.augment.report import _corpus_part, _next_step
from emodiff.augment.run import asked_for, estimate
from emodiff.augment.source import Request, prepare_speech, read_speech
from emodiff.base.chapter import check_parameters
from emodiff.base.core import EmodiffError, error_message
from emodiff.base.settings import EMOTIONS, Features, load_preset, replace
from emodiff.generator.diffusion import make_chain
from emodiff.generator.prompts import phrases
from emodiff.pages.html import page_html, table_html
from emodiff.recognition.audit import leak_audit
from emodiff.recognition.cells import Cell
from emodiff.recognition.claims import signed_points
from emodiff.recognition.classifier import made_up_segments
from emodiff.speech.corpora import MANIFEST_COLUMNS, read_corpus
from emodiff.speech.features import BrokenClip, load_audio
from emodiff.speech.segments import Segments, prepare, segments_manifest
from emodiff.speech.tables import read_audformat, read_csv, read_labelled, read_plan, write_csv

SMOKE = load_preset("smoke")
RATES = {"step": 1e-3, "sample": 1e-3, "wave": 1e-3, "fit": 1e-3, "cell": 1e-3,
         "generator": 1.0}
HEADER = "file,speaker,gender,emotion,text"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "Sixteen short clips: speakers s0 to s3, emotions e0 to e3, as s0e0.wav ..."
    folder = tmp_path_factory.mktemp("clips")
    for s in range(4):
        for e in range(4):
            wave = babble(0.5, 16000, 110 + 20 * s, seed=4 * s + e, silence=0.05)
            soundfile.write(folder / f"s{s}e{e}.wav", wave, 16000)
    return folder


@pytest.fixture(autouse=True)
def no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    "The rates of a machine as they are known: no test here waits for a measurement."
    monkeypatch.setattr(run_module, "measured_rates", lambda *_: RATES)


def rows_of(clips: Path, labels: tuple[str, ...] = EMOTIONS) -> list[str]:
    "A table's lines, the emotions by these names."
    return [f"s{s}e{e}.wav,S{s},{'fm'[s % 2]},{label},Hello {e}."
            for s in range(4) for e, label in enumerate(labels)]


def write_table(path: Path, rows: list[str], header: str = HEADER, encoding: str = "utf-8") -> Path:
    "A CSV of these lines."
    path.write_bytes("\n".join([header, *rows, ""]).encode(encoding))
    return path


def said(*arguments: str) -> str:
    "What a command prints; its error is raised."
    done = CliRunner().invoke(app, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


@pytest.fixture
def known_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    "The folder of a generator that knows two speakers; it is not loaded."
    folder = tmp_path / "generator"
    folder.mkdir()
    (folder / "config.json").write_text(
        '{"emotions": ["angry", "happy", "neutral", "sad"], "speakers": {"EmoDB": ["03", "08"]}}')
    people = pd.DataFrame({"corpus": "EmoDB", "speaker": ["03", "08"], "gender": ""})
    stub = types.SimpleNamespace(settings=SMOKE, device="cpu", speakers=people,
                                 chain=make_chain(SMOKE.diffusion),
                                 emotions=("angry", "happy", "neutral", "sad"))
    monkeypatch.setattr("emodiff.generator.sampling.load_generator", lambda *_: stub)
    return folder


def test_u01_numeric_names_stay_text(tmp_path: Path) -> None:
    "Ids that look like numbers: 1001, EmoDB's 03, a text that is '7'."
    path = write_table(tmp_path / "plan.csv", ["7,angry,1001,CREMA-D,male", "8,sad,03,EmoDB,"],
                       "text,emotion,speaker,corpus,gender")
    first, second = read_plan(path).to_dict("records")
    assert phrases(first) == ("7", "a voice that sounds angry", "speaker 1001 of CREMA-D, a man")
    assert phrases(second)[2] == "speaker 03 of EmoDB"
    tiny(tmp_path / "a.wav")
    table = write_table(tmp_path / "t.csv", ["a.wav,03,,angry,007"])
    assert read_csv(table)[["speaker", "text"]].to_numpy().tolist() == [["03", "007"]]


def test_u02_parts_of_recordings_are_cut_out(tmp_path: Path, home: Path) -> None:
    "start and end: several turns of one file, in seconds or as audformat writes them."
    turns = [babble(0.8, 16000, seed=i, silence=0.0) for i in range(3)]
    soundfile.write(tmp_path / "talk.wav", np.concatenate(turns), 16000)
    for i, turn in enumerate(turns):
        soundfile.write(tmp_path / f"turn{i}.wav", turn, 16000)
    header = "file,start,end,speaker,gender,emotion,text"
    table = write_table(tmp_path / "talk.csv", [
        "talk.wav,0,0.8,A,f,angry,one", "talk.wav,0.8,1.6,B,m,sad,two",
        "talk.wav,0 days 00:00:01.6,,A,f,happy,three", "talk.wav,1600,2400,A,f,happy,four",
        "talk.wav,x,1,A,f,happy,five", "turn0.wav,,,C,f,neutral,"], header)
    found = read_speech(table)
    assert found.manifest["utterance"].tolist() == ["talk-0-0.8", "talk-0.8-1.6", "talk-1.6",
                                                    "turn0"]
    assert found.manifest["seconds"].round(3).tolist() == [0.8] * 4
    assert found.rows == 6 and len(found.rejected) == 2
    assert found.rejected["fault"].str.contains("1600 s|is no time").all()
    settings = Features(trim_db=0)
    parts = prepare(found.manifest[:3], settings, 1)
    whole = prepare(pd.DataFrame({"path": [str(tmp_path / f"turn{i}.wav") for i in range(3)]}),
                    settings, 1)
    assert np.array_equal(parts.mels, whole.mels) and len(parts) == 3
    assert not np.array_equal(parts.mels[0], parts.mels[1])
    made = Segments(parts.mels[:1], parts.table[:1].assign(utterance="new", synthetic=True))
    both = joint_table(replace(found, manifest=found.manifest), made.table, tmp_path, "wav")
    assert both["start"].iloc[1] == "0 days 00:00:00.800000" and both["end"].iloc[-1] == ""
    write_csv(found.manifest, tmp_path / "again.csv")
    assert read_csv(tmp_path / "again.csv")["seconds"].round(3).tolist() == [0.8] * 4


def test_overlapping_parts_of_one_recording_are_told(tmp_path: Path) -> None:
    "Shared sound: another speaker's part is rejected, one speaker's parts are named."
    soundfile.write(tmp_path / "talk.wav", babble(4.0, 16000), 16000)
    header = "file,start,end,speaker,gender,emotion,text"
    rows = ["talk.wav,0,1.5,A,f,angry,", "talk.wav,1.4,3.5,B,m,sad,", "talk.wav,1.6,1.9,B,m,sad,",
            "talk.wav,1,2,A,f,happy,", "talk.wav,3,4,A,f,happy,", "talk.wav,3.96,5,B,f,happy,"]
    found = read_labelled(write_table(tmp_path / "t.csv", rows, header))
    lost = [Path(r["file"]).name for r in found.rejected if "overlaps" in r["fault"]]
    assert lost == ["t.csv:3", "t.csv:4"] and len(found.manifest) == 4, found.rejected
    note, = found.notes
    assert "1 part of recordings overlap" in note and "t.csv:2 and" in note and "t.csv:5" in note


def test_overlapping_parts_in_training_and_test_are_a_leak() -> None:
    "Different sound, different speakers and names: the parts of one recording that overlap."
    real = made_up_segments(8)
    table = real.table.assign(utterance=[f"u{i}" for i in range(8)], path="talk.wav", segment=0,
                              start=np.arange(8.0), end=np.arange(8.0) + 1.0)
    cell = Cell("within", "real", "x", 0, {"real": np.arange(4)}, {"real": np.arange(4, 8)})
    table["speaker"] = ["a"] * 4 + ["b"] * 4
    assert leak_audit([cell], {"real": Segments(real.mels, table)}).empty
    table.loc[3, "end"] = 4.5  # of the first speaker, into the second one's first part
    leaks = leak_audit([cell], {"real": Segments(real.mels, table)})
    assert leaks["kind"].tolist() == ["content"] and "u3" in leaks["who"][0], leaks


def test_u03_laryngograms_are_no_speech(tmp_path: Path) -> None:
    "EmoDB with laryngo/ beside wav/: only wav/ is read, the other folder is named."
    for name in ("03a01Fa", "08a02Wa"):
        for place in ("laryngo", "wav"):
            tiny(tmp_path / "EmoDB" / place / f"{name}.wav")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read_corpus("EmoDB", tmp_path / "EmoDB")
    assert all(Path(path).parent.name == "wav" for path in found["path"]) and len(found) == 2
    rejected, = found.attrs["rejected"]
    assert rejected["file"].endswith("laryngo") and "2 sound files" in rejected["fault"]
    assert any("laryngo" in str(w.message) for w in caught)


def test_u04_blanks_around_cells_make_no_new_person(tmp_path: Path, clips: Path) -> None:
    "Speakers EB0 and '   EB0', no-break blanks, a blank after a file's name; the audit's names."
    table = write_table(tmp_path / "t.csv", [
        "s0e0.wav,EB0,f,angry,a", "s0e1.wav ,        EB0,f , sad,b", "s0e2.wav,EB0\xa0,f,happy,c",
        "s0e3.wav,\u200bEB0\ufeff,f,\xa0neutral,d"])
    found = read_speech(table, root=clips)
    assert found.manifest["speaker"].tolist() == ["EB0"] * 4 and not len(found.rejected)
    mels = np.zeros((2, 80, 256), np.float16)
    other = pd.DataFrame({"corpus": "c", "speaker": ["Dóra", "Do\u0301ra\xa0"], "segment": 0,
                          "utterance": ["a", "b"], "emotion": "sad", "frames": 9,
                          "synthetic": False})
    assert segments_manifest(Segments(mels, other))["speaker"].nunique() == 1


def write_parquet(folder: Path, name: str, columns: dict[str, Any]) -> None:
    "A table as audformat stores it by default."
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), folder / f"db.{name}.parquet")


def audformat_folder(folder: Path, clips: Path) -> Path:
    "A database's folder: its header and two of the clips, without its tables."
    (folder / "audio").mkdir(parents=True)
    for name in ("s0e0.wav", "s1e3.wav"):
        shutil.copy(clips / name, folder / "audio" / name)
    (folder / "db.yaml").write_text("""
name: mine
schemes:
  emotion: {dtype: str, labels: [anger, sadness]}
  speaker: {dtype: str, labels: speakers}
tables:
  emotion: {type: segmented, columns: {emotion: {scheme_id: emotion}}}
  files: {type: filewise, columns: {speaker: {scheme_id: speaker}, text: {}}}
misc_tables:
  speakers: {levels: {speaker: str}, columns: {gender: {}}}
""")
    return folder


def test_u05_parquet_tables_of_audformat_are_read(tmp_path: Path, clips: Path) -> None:
    "audformat's default storage, with a table of speakers that a scheme names (misc_tables)."
    base = audformat_folder(tmp_path / "db", clips)
    files = ["audio/s0e0.wav", "audio/s1e3.wav"]
    span = [pd.Timedelta(seconds=s).to_pytimedelta() for s in (0, 0.3)]
    write_parquet(base, "emotion", {"file": files, "start": [span[0]] * 2,
                                    "end": [None, span[1]], "emotion": ["anger", "sadness"]})
    write_parquet(base, "files", {"file": files, "speaker": ["07", "08"], "text": ["a", "b"]})
    write_parquet(base, "speakers", {"speaker": ["07", "08"], "gender": ["male", "female"]})
    found = read_audformat(base)
    assert found[["speaker", "gender", "emotion", "text"]].to_numpy().tolist() == [
        ["07", "male", "angry", "a"], ["08", "female", "sad", "b"]]
    assert found["end"].tolist() == [np.inf, 0.3]


def test_u05_without_pyarrow_the_fix_is_named(
    tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    "A parquet table where pyarrow is not installed; a pickled one is not opened."
    base = audformat_folder(tmp_path / "db", clips)
    (base / "db.emotion.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    assert "storage_format='csv'" in error_message(read_audformat, base)
    (base / "db.emotion.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install pyarrow" in error_message(read_audformat, base)
    assert not Path("ran").exists()


@pytest.mark.parametrize("length", [0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_u06_a_wav_from_a_pipe_is_heard_to_its_end(tmp_path: Path, length: int) -> None:
    "SoX, FFmpeg and arecord write a length that stands for 'unknown' where they write to a pipe."
    soundfile.write(tmp_path / "x.wav", babble(1.0, 16000, silence=0.0), 16000)
    data = bytearray((tmp_path / "x.wav").read_bytes())
    at = data.index(b"data") + 4
    data[at:at + 4] = struct.pack("<I", length)
    data[4:8] = struct.pack("<I", min(length + 36, 0xFFFFFFFF))
    (tmp_path / "x.wav").write_bytes(data)
    wave = load_audio(tmp_path / "x.wav", Features(trim_db=0))
    assert abs(len(wave) / 22050 - 1.0) < 0.01


@pytest.mark.parametrize("stray", ['"Oh, he said', 'he said "so', '"a" b', '"', '"so", he'])
def test_u07_a_stray_quotation_mark_costs_one_row(
    tmp_path: Path, clips: Path, stray: str,
) -> None:
    "Row 11 of 14 with a quotation mark out of place: every line is counted, this one is named."
    rows = rows_of(clips)[:14]
    rows[10] = rows[10].rsplit(",", 1)[0] + "," + stray
    found = read_speech(write_table(tmp_path / "t.csv", rows), root=clips)
    assert found.rows == 14 and len(found.manifest) + len(found.rejected) == 14
    assert len(found.manifest) >= 13
    assert all(file.endswith("t.csv:12") for file in found.rejected["file"])
    rows[12] = rows[12].rsplit(",", 1)[0] + ',no way"'  # and another that seems to close it
    found = read_speech(write_table(tmp_path / "t.csv", rows), root=clips)
    assert found.rows == 14 and len(found.manifest) >= 12


def test_u07_a_cell_may_hold_line_ends(tmp_path: Path, clips: Path) -> None:
    "A quoted text of two lines is one row."
    rows = ['s0e0.wav,A,f,angry,"one,\ntwo ""three"""', "s0e1.wav,A,f,sad,x"]
    found = read_speech(write_table(tmp_path / "t.csv", rows), root=clips)
    assert found.manifest["text"].tolist() == ['one,\ntwo "three"', "x"] and found.rows == 2


def test_u08_labels_beyond_the_four_are_kept_or_named(tmp_path: Path, clips: Path) -> None:
    "A table's own emotions are used; cut to the four, it is said which go, and how many rows."
    rows = rows_of(clips, ("angry", "happy", "fear", "surprise"))
    table = write_table(tmp_path / "t.csv", rows)
    speech = read_speech(table, root=clips)
    assert speech.emotions == ("angry", "fear", "happy", "surprise") and not len(speech.rejected)
    assert len(speech.manifest) == 16 and "4 emotions: angry, fear" in told_before(speech, SMOKE)[0]
    cut = read_speech(table, root=clips, emotions=EMOTIONS)
    told = " ".join(told_before(cut, SMOKE))
    assert cut.skipped == 8 and "passed over: fear (4 rows), surprise (4 rows)" in told
    mels = np.zeros((8, 80, 256), np.float16)
    real = Segments(mels, cut.manifest.assign(segment=0, frames=9, synthetic=False))
    page = _corpus_part(cut, real, real.table)
    assert "<td>fear</td>" in page and "passed over" in page
    misspelt = write_table(tmp_path / "m.csv", [*rows[1:], "s0e0.wav,S0,f,angyr,"])
    assert "'angyr' has 1 usable row" in error_message(read_speech, misspelt, None, clips)


@pytest.mark.parametrize("change", [
    "training.steps=viele", "training.lr=abc", "training.batch=0", "classifier.batch=0",
    "protocol.jobs=0", "protocol.seeds=0", "training.decay=perhaps", "denoiser.encoder=",
    "denoiser.encoder=nope"])
def test_u09_a_wrong_setting_is_one_sentence_before_any_work(
    home: Path, tmp_path: Path, clips: Path, change: str,
) -> None:
    "In a dry run too, for train and augment."
    table = write_table(tmp_path / "t.csv", rows_of(clips))
    for command in (["train", "nowhere"], ["augment", str(table), "--root", str(clips)]):
        with pytest.raises(EmodiffError) as error:
            said(*command, "--out", str(tmp_path / "o"), "--set", change, "--dry-run")
        assert change.split("=")[0] in str(error.value) and "\n" not in str(error.value)


def test_u09_no_is_no() -> None:
    "`training.decay=no` switches it off."
    from emodiff.base.settings import parse_changes

    assert load_preset("demo", **parse_changes(["training.decay=no"])).training.decay is False


@pytest.mark.parametrize(("line", "word"), [
    ("held_out = 1", "-r"), ("per_emotion = 'abc'", "per_emotion"), ("per_emotion = 2.5", "2.5"),
    ("table = 5", "-r"), ("mapping = 3", "-r")])
def test_u10_wrong_parameters_of_chapter_07(line: str, word: str) -> None:
    "What papermill's -p hands over: one sentence, and -r is named where it took a number."
    declared = "held_out: str = ''\nper_emotion: int = 25\ntable: str = ''\nmapping: str = ''"
    space: dict[str, Any] = {"In": [declared, f"# Parameters\n{line}"]}
    exec(f"{declared}\n{line}", space)
    message = error_message(check_parameters, space, ["held_out", "per_emotion", "table",
                                                      "mapping"])
    assert word in message and line.split(" ")[0] in message


def test_u10_what_is_no_number_of_utterances(home: Path) -> None:
    "`-p per_emotion -1`, and a mapping that is none."
    values = dict(preset="smoke", table="x.csv", ways="", per_emotion=-1, held_out="", out_dir="",
                  vocoder="", seeds=0, device="cpu", mapping="", emotions="", root="", encoding="",
                  database_table="")
    assert "per_emotion" in error_message(asked_for, values)
    assert "LABEL=EMOTION" in error_message(asked_for, {**values, "mapping": "Wut"})


def test_u11_a_home_that_cannot_be_written_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    "The doctor reports it and changes nothing."
    from emodiff.app.doctor import check_disk

    monkeypatch.setenv("EMODIFF_HOME", "/proc/emodiff" if Path("/proc").is_dir() else "/dev/null")
    finding, = check_disk()
    assert finding.fault and "EMODIFF_HOME" in finding.fix
    monkeypatch.setenv("EMODIFF_HOME", str(tmp_path / "new"))
    assert not next(check_disk()).fault and not (tmp_path / "new").exists()


def test_u12_accents_may_be_composed_or_not(tmp_path: Path) -> None:
    "Labels and file names of macOS (NFD) beside a mapping and a table in NFC, and the other way."
    forms = {form: unicodedata.normalize(form, "złość-ż") for form in ("NFC", "NFD")}
    for on_disk, in_table in (("NFD", "NFC"), ("NFC", "NFD")):
        folder = tmp_path / on_disk
        tiny(folder / forms[on_disk] / f"{forms[on_disk]}.wav")
        table = write_table(folder / "t.csv", [
            f"{forms[in_table]}/{forms[in_table]}.wav,{forms[on_disk]},f,{forms[in_table]},x"])
        found = read_labelled(table, {forms[on_disk]: "angry"})
        assert not found.rejected and found.manifest["emotion"].tolist() == ["angry"]
        assert found.manifest["speaker"].tolist() == [forms["NFC"]]


@pytest.mark.parametrize(("encoding", "text"), [("cp1250", "złość"), ("gb18030", "愤怒")])
def test_u13_another_encoding_is_told_not_guessed(
    tmp_path: Path, encoding: str, text: str,
) -> None:
    "A table in cp1250 or GB18030: refused with how it might read, or read as the reader says."
    tiny(tmp_path / "a.wav")
    table = write_table(tmp_path / "t.csv", [f"a.wav,A,f,{text},{text}"], encoding=encoding)
    message = error_message(read_labelled, table, {text: "angry"})
    assert "--encoding" in message and f"{encoding}: {text!r}" in message
    found = read_labelled(table, {text: "angry"}, encoding=encoding)
    assert found.manifest["text"].tolist() == [text]
    for wrong in ("utf-8", "ascii", "zlib", "none such"):
        assert "encoding" in error_message(read_labelled, table, {text: "angry"}, None, wrong)


@pytest.mark.parametrize("name", ["voice memo.m4a", "clip.webm", "talk"])
def test_u14_formats_that_must_be_converted(tmp_path: Path, name: str) -> None:
    "m4a and webm, also without a suffix: the command that converts them."
    head = b"\x1aE\xdf\xa3" if name.endswith("webm") else b"\0\0\0\x20ftypM4A "
    (tmp_path / name).write_bytes(head + bytes(200))
    tiny(tmp_path / "a.wav")
    found = read_labelled(write_table(tmp_path / "t.csv", [f"{name},A,f,angry,",
                                                           "a.wav,A,f,angry,"]))
    assert "convert it to WAV or FLAC" in found.rejected[0]["fix"]
    assert "ffmpeg -i" in found.rejected[0]["fix"] and "restore" not in found.rejected[0]["fix"]


def test_u15_prompts_that_the_generator_does_not_know(
    tmp_path: Path, known_generator: Path,
) -> None:
    "An emotion or a speaker that it never met is refused with those it knows; 'Anger' is known."
    def dry(*rows: str, sep: str = ",", mark: str = "") -> str:
        "A dry run of `sample`."
        lines = [sep.join(row.split(",")) for row in ("text,emotion,speaker", *rows)]
        (tmp_path / "plan.csv").write_text(mark + "\n".join(lines) + "\n", "utf-8")
        return said("sample", str(known_generator), str(tmp_path / "plan.csv"), "--out",
                    str(tmp_path / "o"), "--dry-run")

    assert "1 sample," in dry("Hi.,Anger,03") and "2 samples" in dry("Hi.,sad,", "Ho.,Angry,08")
    assert "1 sample," in dry("Hi.,angry,03", sep=";", mark="\ufeff")
    for row, words in (("Hi.,furious,03", "angry, happy, neutral, sad"), ("Hi.,sad,3", "03, 08")):
        with pytest.raises(EmodiffError, match=words):
            dry(row)
    with pytest.raises(EmodiffError, match="column"):
        write_table(tmp_path / "p.csv", ["a,sad"], "text,emotion")
        said("sample", str(known_generator), str(tmp_path / "p.csv"), "--out", "o", "--dry-run")


def test_u16_the_folder_is_looked_at_first(tmp_path: Path, clips: Path, home: Path) -> None:
    "One with another result is refused before any work; one where nothing was made is not."
    table = write_table(tmp_path / "t.csv", rows_of(clips))
    command = ["augment", str(table), "--root", str(clips), "--out", str(tmp_path / "o"),
               "--preset", "smoke", "--device", "cpu", "--ways", "synthetic", "--dry-run"]
    open_folder(tmp_path / "o", "another", "another's")
    assert "would go" in said(*command)  # nothing was made there
    (tmp_path / "o" / "augmented.csv").write_text("x")
    with pytest.raises(EmodiffError, match="another folder"):
        said(*command)
    speech = read_speech(table, root=clips)
    (tmp_path / "o" / "augment.json").unlink()
    (tmp_path / "o" / "augmented.csv").unlink()
    open_folder(tmp_path / "o", run_module._asked_key(speech, SMOKE, Request()), "key")
    (tmp_path / "o" / "augmented.csv").write_text("x")
    assert "would go" in said(*command)  # the same request


def test_u17_the_sound_of_videos_is_not_counted_again(tmp_path: Path) -> None:
    "RAVDESS's 01- and 02-: modality 03 alone is used, the rest is named."
    for modality in ("01", "03"):
        for statement in ("01", "02"):
            tiny(tmp_path / "RAVDESS" / "Actor_01" / f"{modality}-01-05-01-{statement}-01-01.wav")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = read_corpus("RAVDESS", tmp_path / "RAVDESS")
    assert len(found) == 2 and all(name.startswith("03") for name in found["utterance"])
    rejected, = found.attrs["rejected"]
    assert rejected["fault"].startswith("2 clips of modality 01")


def test_u18_two_labels_for_one_file(tmp_path: Path, clips: Path) -> None:
    "Neither is believed; both rows say what the other is. The same row twice counts once."
    rows = ["s0e0.wav,A,f,angry,", "./s0e0.wav,A,f,sad,", "s0e1.wav,A,f,sad,", "s0e1.wav,A,f,sad,"]
    found = read_labelled(write_table(tmp_path / "t.csv", rows), root=clips)
    assert found.manifest["utterance"].tolist() == ["s0e1"]
    faults = [r["fault"] for r in found.rejected]
    assert sum("is 'angry' in one row and 'sad' in another" in fault for fault in faults) == 2
    assert sum("names the same clip as" in fault for fault in faults) == 1


@pytest.mark.parametrize(("keep", "words"), [
    (lambda r: ",angry," in r, "angry speech, so there is nothing to tell apart"),
    (lambda r: ",S0," in r or ",S1," in r, "with 2 speakers to hold out"),
    (lambda r: ",S0," in r, "one person's speech")])
def test_u18_what_cannot_be_told_is_said_before(
    tmp_path: Path, clips: Path, keep: Any, words: str,
) -> None:
    "One emotion, two speakers, one speaker, no gender."
    rows = [row.replace(",f,", ",,").replace(",m,", ",,") for row in rows_of(clips) if keep(row)]
    speech = read_speech(write_table(tmp_path / "t.csv", rows), root=clips)
    told = told_before(speech, SMOKE)
    assert any("no advice will be given" in line and words in line for line in told)
    assert any("no row names a gender" in line for line in told)


def test_u18_one_emotion_is_not_hard_to_hear() -> None:
    "'100 % heard' beside 'hard to hear' is no sentence."
    heard = pd.DataFrame({"speech": ["synthetic", "real, unseen"], "fidelity (UAR %)": [100.0] * 2,
                          **{e: [100.0 if e == "sad" else np.nan] * 2 for e in EMOTIONS}})
    assert _next_step(SpeechQuality(heard, heard)).startswith("All of it has one emotion")


def test_u19_one_convention_for_all_files(tmp_path: Path, clips: Path, home: Path) -> None:
    "augmented.csv names every file whole, as nkululeko expects; audformat finds all of them."
    speech = read_speech(write_table(tmp_path / "t.csv", rows_of(clips)), root=clips)
    segments, speech = prepare_speech(speech, SMOKE.features, 1)
    made = segments.take(np.arange(2))
    made.table = made.table.assign(utterance=["new-1", "new-2"], synthetic=True)
    for name in ("new-1", "new-2"):
        tiny(tmp_path / "audio" / f"{name}.wav")
    both = joint_table(speech, made.table, tmp_path, "wav")
    both.to_csv(tmp_path / "augmented.csv", index=False)
    assert all(os.path.isabs(file) and os.path.exists(file) for file in both["file"])
    again = read_speech(tmp_path / "augmented.csv")
    assert (len(again.manifest), again.synthetic) == (16, 2)
    utils = pytest.importorskip("audformat.utils")
    index = utils.read_csv(tmp_path / "augmented.csv").index
    assert len(index) == 18 and all(os.path.exists(file) for file in index)


def test_u20_own_labels_are_kept(tmp_path: Path, clips: Path) -> None:
    "`anger` is read as angry, and stays in a column of its own; the report says so."
    rows = rows_of(clips, ("anger", "joy", "neutral", "Trauer"))
    speech = read_speech(write_table(tmp_path / "t.csv", rows), {"Trauer": "sad"}, clips)
    mels = np.zeros((16, 80, 256), np.float16)
    real = Segments(mels, speech.manifest.assign(segment=0, frames=9, synthetic=False))
    made = real.take(np.arange(4))
    both = joint_table(speech, made.table, tmp_path, "wav")
    assert both["own_label"].tolist()[:4] == ["anger", "joy", "neutral", "Trauer"]
    assert both["own_label"].tolist()[-4:] == ["anger", "joy", "neutral", "Trauer"]
    assert both["emotion"].tolist()[:4] == list(EMOTIONS)
    page = _corpus_part(speech, real, made.table)
    assert "own_label" in page and "Trauer" in page


def test_u21_prepare_reads_what_augment_reads(tmp_path: Path, clips: Path, home: Path) -> None:
    "A TSV with --map and --root, and an audformat folder."
    rows = [row.replace(",", "\t") for row in rows_of(clips, ("Wut", "happy", "neutral", "Ekel"))]
    table = write_table(tmp_path / "t.tsv", rows, HEADER.replace(",", "\t"))
    text = said("prepare", str(table), "--root", str(clips), "--map", "Wut=angry", "--map", "Ekel=",
                "--out", str(tmp_path / "s"), "--preset", "smoke", "--dry-run")
    assert "16 rows: 12 used, 0 rejected, 4 skipped" in text and "4 angry" in text
    base = audformat_folder(tmp_path / "db", clips)
    (base / "db.emotion.csv").write_text("file,emotion\naudio/s0e0.wav,anger\n")
    (base / "db.files.csv").write_text("file,speaker,text\naudio/s0e0.wav,07,a\n")
    text = said("prepare", str(base), "--out", str(tmp_path / "s"), "--preset", "smoke", "--jobs",
                "1")
    assert "1 utterance of 1 speaker" in text and "1 segment:" in text


def test_u21_one_table_of_several_is_chosen_aloud(tmp_path: Path, clips: Path) -> None:
    "Two tables with emotions: one is used and said, or the reader's choice."
    base = audformat_folder(tmp_path / "db", clips)
    (base / "db.yaml").write_text((base / "db.yaml").read_text().replace(
        "tables:\n", "tables:\n  gold: {type: filewise, columns: {}}\n", 1))
    (base / "db.emotion.csv").write_text("file,emotion\naudio/s0e0.wav,anger\n")
    (base / "db.gold.csv").write_text("file,emotion\naudio/s0e0.wav,sadness\n")
    (base / "db.files.csv").write_text("file,speaker\naudio/s0e0.wav,07\n")
    found = read_labelled(base)
    assert found.manifest["emotion"].tolist() == ["angry"]
    assert "'emotion' (1 row) is used" in found.notes[0] and "'gold' (1 row)" in found.notes[0]
    assert read_labelled(base, table="gold").manifest["emotion"].tolist() == ["sad"]
    assert "gold" in error_message(read_labelled, base, None, None, "", "silver")


def test_u22_numbers_as_they_are() -> None:
    "An interval is not halved into '±', zero has no sign, one is not many."
    rng, rows = np.random.default_rng(3), []
    for arm in TEST_ARMS:
        for speaker in range(5):
            truth = np.resize(EMOTIONS, 40)
            hit = rng.random(40) < 0.3 + 0.1 * speaker
            rows.append(pd.DataFrame({"arm": arm, "seed": 0, "corpus": "c", "emotion": truth,
                                      "speaker": f"s{speaker}",
                                      "predicted": np.where(hit, truth, np.roll(truth, 1))}))
    sentence = advise(pd.concat(rows, ignore_index=True), 100).sentence
    assert "±" not in sentence and "[" in sentence and "-0.0" not in sentence
    assert signed_points(-0.01) == "0.0" and signed_points(30.34) == "+30.3"
    assert "-0.0" not in table_html(pd.DataFrame({"x": [-0.01]}))
    table = pd.DataFrame({"speaker": "A", "emotion": "sad", "seconds": [1.0]})
    work = count_work(table, 1, SMOKE, test=False)
    words = " ".join(estimate_cost(work, RATES, SMOKE)["what"])
    assert "1 segment of" in words and "1 utterance " in words and "1 training" in words
    assert "1 segments" not in words and "1 trainings" not in words


def test_u23_a_text_too_long_for_a_sample_is_said(
    tmp_path: Path, known_generator: Path, clips: Path,
) -> None:
    "A sample lasts 2.97 s: what is longer ends early, and that is said with the limit."
    plan = write_table(tmp_path / "plan.csv", ["Hi.,sad,03", "Once upon a time " * 9 + ",sad,03"],
                       "text,emotion,speaker")
    text = said("sample", str(known_generator), str(plan), "--out", str(tmp_path / "o"),
                "--dry-run")
    assert "1 text of 2" in text and "2.97 s" in text and "45 characters" in text
    speech = read_speech(write_table(tmp_path / "t.csv", rows_of(clips)), root=clips)
    long = replace(speech, manifest=speech.manifest.assign(seconds=[4.0] + [1.0] * 15))
    told = told_before(long, SMOKE)
    assert any(line.startswith("1 of 16 utterances are longer") for line in told)


# Hostile input stays data.

EVIL = ["<script>alert(1)</script>", "=HYPERLINK(\"http://x\")", "@SUM(1)",
        "\x1b[2J\x1b]0;owned\x07",
        "[x](javascript:alert(1))|![y](http://z)", "+1+cmd|' /C calc'!A0", "a\u202egpj.exe"]


@pytest.mark.parametrize("evil", EVIL)
def test_hostile_names_stay_data(tmp_path: Path, clips: Path, evil: str) -> None:
    "A speaker, a label, a text and a column: in pages, logs and tables that a spreadsheet opens."
    cell = evil.replace('"', '""')
    rows = [f's0e0.wav,"{cell}",f,angry,"{cell}"',
            *(f's{i}e1.wav,"{cell}",f,"{cell}","{cell}"' for i in range(4))]
    speech = read_speech(write_table(tmp_path / "t.csv", rows), root=clips)
    name = speech.manifest["speaker"].iloc[0]
    assert not any(ord(c) < 32 for c in name)
    page = page_html(name, table_html(speech.manifest[["speaker", "text"]]))
    assert "<script>alert" not in page and "\x1b" not in page
    for line in [*told_before(speech, SMOKE), *speech.rejected.to_numpy().ravel()]:
        assert "\x1b" not in line
    write_csv(speech.manifest, tmp_path / "out.csv")
    raw = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)
    assert not raw["speaker"].iloc[0].startswith(("=", "+", "-", "@"))
    assert read_csv(tmp_path / "out.csv")["speaker"].iloc[0] == name  # comes back as it was
    assert all(c.isprintable() or c == "\n" for c in _plain(f"{evil}\n{evil}"))


def test_a_hostile_plan_writes_only_below_its_folder(tmp_path: Path) -> None:
    "Names of samples are the project's own, whatever a plan's columns say."
    from emodiff.generator.sampling import samples_as_segments

    path = write_table(tmp_path / "plan.csv", ["Hi.,sad,A,../../etc/x,/etc/passwd"],
                       "text,emotion,speaker,utterance,path")
    plan = read_plan(path)
    made = samples_as_segments(np.zeros((1, 80, 256), np.float16), plan, np.array([0]), Features())
    assert made.table[["utterance", "path"]].to_numpy().tolist() == [["synthetic-0", ""]]


def test_pipes_devices_and_links_in_tables(tmp_path: Path, clips: Path) -> None:
    "As the table itself, and as the files that it names: nothing waits, nothing is read for ever."
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "link.wav").symlink_to(clips / "s0e0.wav")
    (tmp_path / "good.wav").write_bytes((clips / "s0e1.wav").read_bytes())
    names = ["pipe.wav", "/dev/zero", "loop.wav", "/etc/passwd", "..", "link.wav", "good.wav", "\0"]
    found = read_labelled(write_table(tmp_path / "t.csv", [f"{n},A,f,sad," for n in names]))
    assert found.manifest["utterance"].tolist() == ["link", "good"] and len(found.rejected) == 6
    assert sum("a pipe or a device" in r["fault"] for r in found.rejected) == 2
    os.mkfifo(tmp_path / "pipe.csv")
    for source in (tmp_path / "pipe.csv", Path("/dev/zero")):
        assert "a pipe or a device" in error_message(read_labelled, source)
    assert "CSV" in error_message(read_labelled, tmp_path / "nowhere.csv")


def test_headers_that_would_run_code(tmp_path: Path, clips: Path) -> None:
    "audformat's YAML with tags of Python, and names that lead out of the folder."
    base = audformat_folder(tmp_path / "db", clips)
    (tmp_path / "db.evil.csv").write_text("file,emotion\nx,anger\n")
    (base / "db.emotion.csv").write_text("file,emotion,speaker\naudio/s0e0.wav,anger,07\n")
    text = (base / "db.yaml").read_text()
    (base / "db.yaml").write_text(text.replace("tables:\n", "tables:\n  /../../db.evil: {}\n", 1)
                                  + "media: !!python/object/apply:os.system ['touch ran']\n")
    found = read_labelled(base)
    assert len(found.manifest) == 1 and not Path("ran").exists()
    assert any("neither a CSV nor a parquet" in note for note in found.notes)


@pytest.mark.parametrize("fields", [
    {"rate": 0xFFFFFFFF}, {"rate": 3_000_000}, {"rate": 0}, {"channels": 0}, {"channels": 0xFFFF},
    {"bits": 0xFFFF}, {"align": 0}, {"size": 0xFFFFFFF0}])
def test_absurd_wav_headers(tmp_path: Path, fields: dict[str, int]) -> None:
    "Rates, channels and sizes that no recording has: refused, or read as what is there."
    h = {"channels": 1, "rate": 16000, "align": 2, "bits": 16, "size": 32000} | fields
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + 32000, b"WAVE", b"fmt ", 16, 1,
                       h["channels"], h["rate"], 32000, h["align"], h["bits"], b"data", h["size"])
    data = np.round(babble(1.0, 16000, silence=0) * 32767).astype("<i2").tobytes()
    (tmp_path / "x.wav").write_bytes(head + data)
    with contextlib.suppress(BrokenClip):
        assert len(load_audio(tmp_path / "x.wav", Features(trim_db=0))) < 3 * 22050
    with contextlib.suppress(EmodiffError):
        read_labelled(write_table(tmp_path / "t.csv", ["x.wav,A,f,sad,"]))


def test_a_table_of_absurd_size_is_refused(tmp_path: Path) -> None:
    "A sparse file of 8 GiB, and a parquet file that unpacks to more than memory."
    with (tmp_path / "t.csv").open("wb") as f:
        f.truncate(8 << 30)
    assert "no table of speech is that large" in error_message(read_labelled, tmp_path / "t.csv")
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    long = pyarrow.array(["x" * (1 << 20)])
    rows = pyarrow.DictionaryArray.from_arrays(np.zeros(1024, np.int32), long)
    parquet.write_table(pyarrow.table({"file": rows}), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 10_000_000
    assert "unpacks to more" in error_message(read_labelled, tmp_path / "t.parquet")


def test_a_table_of_200000_rows_fits(tmp_path: Path, clips: Path) -> None:
    "Read within seconds, all rows counted."
    rows = [f"s0e0.wav,S{i % 50},f,bored,Text number {i}." for i in range(199_984)]
    table = write_table(tmp_path / "t.csv", rows_of(clips) + rows)
    found = read_labelled(table, {"bored": ""}, clips)
    assert (found.rows, found.skipped, len(found.manifest)) == (200_000, 199_984, 16)


def test_every_row_is_accounted_for_whatever_is_wrong(tmp_path: Path, clips: Path) -> None:
    "used + rejected + skipped = the table's rows, in the manifest's own columns."
    rows = [*rows_of(clips), "", "s0e0.wav", ",,,,", "x.wav,A,f,sad,", 's1e1.wav,"A,f,sad,',
            "s0e0.wav,A,f,bored,", "s0e0.wav,A,f,,", "s1e1.wav,,f,sad,", "s2e2.wav,A,f,sad,,,"]
    found = read_labelled(write_table(tmp_path / "t.csv", rows), {"bored": ""}, clips)
    assert found.rows == 24 == len(found.manifest) + len(found.rejected) + found.skipped
    assert found.skipped == 1 and set(MANIFEST_COLUMNS) == set(found.manifest)
    assert all(r["fix"] and r["fault"] for r in found.rejected)


def test_estimate_logs_what_it_was_told(tmp_path: Path, clips: Path, home: Path) -> None:
    "The lines of the estimate: the count, what will not come, the cost."
    lines: list[str] = []
    table = write_table(tmp_path / "t.csv", [r for r in rows_of(clips) if ",S3," not in r])
    estimate(table, Request(1, device="cpu"), SMOKE, None, clips, lines.append, tmp_path / "o")
    assert lines[0] == "12 rows: 12 used, 0 rejected"
    assert any("with 3 speakers to hold out" in line for line in lines)
    assert not (tmp_path / "o").exists() and not (home / "data").exists()
