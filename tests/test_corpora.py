"""speech.corpora: corpora of full size, recorded ones, broken folders, made-up inputs."""
import contextlib
import itertools
import os
import shutil
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from made_up_text import BLOBS, FUZZ, calm
from voice import tiny

from emodiff.base.core import error_message
from emodiff.base.settings import EMOTIONS, Standin
from emodiff.speech import corpora
from emodiff.speech.corpora import (
    CORPORA,
    CREMA_NAME,
    CREMA_TEXTS,
    Reading,
    check_counts,
    corpus_name,
    decode_text,
    find_corpus,
    read_corpus,
)
from emodiff.speech.standins import load_corpus, make_standins


def quiet_corpus(*args, **options) -> pd.DataFrame:
    "read_corpus without its warnings."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_corpus(*args, **options)


def full_iemocap(root: Path) -> Path:
    "IEMOCAP's 5,531 labels, every second dialog named for the other speaker."
    clip = tiny(root / "clip.wav")
    for speaker, counts in corpora._PUBLISHED_PARTS["IEMOCAP"].items():
        session, letter = speaker[:5], speaker[5]
        for d, marker in enumerate("FM"):
            dialog, lines = f"{session}{marker}_impro{d + 1:02d}", []
            for code, n in zip(("ang", "exc", "neu", "sad"), counts, strict=True):
                for _ in range(n)[d::2]:
                    turn = f"{dialog}_{letter}{len(lines):03d}"
                    lines.append(f"[1.0 - 2.0]\t{turn}\t{code}\t[2.5, 2.5, 2.5]")
                    wav = root / f"Session{session[4]}/sentences/wav/{dialog}/{turn}.wav"
                    wav.parent.mkdir(parents=True, exist_ok=True)
                    os.link(clip, wav)
            table = root / f"Session{session[4]}/dialog/EmoEvaluation/{dialog}.txt"
            table.parent.mkdir(parents=True, exist_ok=True)
            with table.open("a") as f:
                f.write("\n".join(lines) + "\n")
    return root


def test_iemocap_of_full_size_has_the_published_counts(tmp_path):
    "5,531 utterances; and the loss of a session does not pass in silence."
    root = full_iemocap(tmp_path / "IEMOCAP_full_release")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        m = load_corpus("IEMOCAP", tmp_path)
    counts = check_counts(m)
    assert len(m) == 5531 and (counts.found == counts.expected).all()
    shutil.rmtree(root / "Session4")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_corpus("IEMOCAP", root)
    assert "Ses04F angry 0 of 205" in str(caught[0].message)


def test_msp_improv_of_full_size_has_the_published_counts(tmp_path):
    "7,798 utterances, per scenario; the file of labels in its other spelling."
    clip, lines = tiny(tmp_path / "clip.wav"), []
    for place, numbers in corpora._PUBLISHED_PARTS["MSP-IMPROV"].items():
        for k, (letter, n) in enumerate(zip("AHNS", numbers, strict=True)):
            for i in range(n):
                who = f"{'FM'[i % 2]}{i // 2 % 6 + 1:02d}"
                turn = f"S{i % 20 + 1:02d}{'AHNS'[i % 4]}-{who}-{place}-FM{k}{i:04d}"
                lines.append(f"UTD-IMPROV-{turn}.avi; {letter}; A:3.0; V:3.5; D:3.0 ; N:3.0;")
                os.link(clip, tmp_path / f"MSP-IMPROV-{turn}.wav")
    (tmp_path / "Evaluation.txt").write_text("\r\n".join(lines))  # the stand-in's: 'Evalution.txt'
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        m = read_corpus("MSP-IMPROV", tmp_path)
    counts = check_counts(m)
    assert len(m) == 7798 and (counts.found == counts.expected).all()


def test_crema_d_of_full_size_under_both_label_sets(tmp_path):
    "4,899 utterances, one warning for the silent clip; votes: ties and other classes fall out."
    clip = tiny(tmp_path / "clip.wav")
    root = tmp_path / "CREMA"
    os.makedirs(root / "processedResults")
    names = [f"{a}_{s}_{e}_{k}" for a in range(1001, 1092)
             for e in ("ANG", "HAP", "NEU", "SAD", "FEA") for s in CREMA_TEXTS
             for k in (("LO", "MD", "HI") if s == "IEO" and e != "NEU" else ("XX",))]
    drop = [[n for n in names if e in n and "MTI" not in n][:k]
            for e, k in (("ANG", 3), ("HAP", 3), ("SAD", 3), ("NEU", 5))]
    names = sorted(set(names) - set(sum(drop, [])))
    for name in names:
        os.link(clip, root / f"{name}.wav")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        m = read_corpus("CREMA-D", root)
    assert len(m) == 4899 and len(caught) == 1 and "silent" in str(caught[0].message)
    heard = dict(zip(names, itertools.cycle(["N", "A", "H", "S", "D", "A:D"]), strict=False))
    votes = [f'"1","{name}","{vote}","60"' for name, vote in heard.items()]
    (root / "processedResults" / "summaryTable.csv").write_text(
        '"","FileName","VoiceVote","VoiceLevel"\n' + "\n".join(votes))
    m = quiet_corpus("CREMA-D", root, labels="votes")
    agreed = {n: corpora._CREMA_VOTES[v] for n, v in heard.items() if v in "AHNS"}
    agreed.pop("1076_MTI_SAD_XX", None)
    assert dict(zip(m.utterance, m.emotion, strict=True)) == agreed


@pytest.mark.parametrize("corpus", ["RAVDESS", "EmoDB", "URDU"])
def test_recorded_corpora_are_read_as_their_tables_say(shared, corpus):
    "Where the open corpora lie beside the project: every column equals a table of known content."
    table = shared / "corpora" / corpus / "meta.tsv"
    if not table.exists():
        pytest.skip(f"{corpus} is not beside the project")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        m = load_corpus(corpus, shared / "corpora")
    assert not [w for w in caught if "not as published" in str(w.message)]
    meta = pd.read_csv(table, sep="\t", dtype=str, keep_default_na=False).set_index("stem")
    missing = sorted(set(meta.index) - set(m.utterance))
    assert missing == {"RAVDESS": ["03-01-03-01-02-02-07"]}.get(corpus, []), missing
    meta = meta.loc[m.utterance]
    for column in ("emotion", "speaker", "gender", "text"):
        assert (meta[column].to_numpy() == m[column].to_numpy()).all(), (corpus, column)
    assert np.allclose(meta.seconds.astype(float), m.seconds, atol=1e-3)
    counts = check_counts(m)
    assert (counts.found == counts.expected).all()


def test_faults_of_label_files(tmp_path):
    "A line cut in half, Windows line ends, a byte order mark, an unknown emotion."
    turns = [f"Ses01F_impro01_{who}{i:03d}" for who in "FM" for i in range(4)]
    for turn in turns[:-1]:
        tiny(tmp_path / "Session1/sentences/wav/Ses01F_impro01" / f"{turn}.wav")
    codes = ["ang", "hap", "exc", "neu", "sad", "rage", "fru", "sad"]
    lines = [f"[1.0 - 2.0]\t{t}\t{c}\t[2.5, 2.5, 2.5]" for t, c in zip(turns, codes, strict=True)]
    lines[1] = lines[1][:27]  # cut in half
    place = tmp_path / "Session1/dialog"
    for sub, text in (("EmoEvaluation", "\r\n".join(["% header", *lines])),
                      ("EmoEvaluation/Categorical", lines[1].replace("hap", "sad")),
                      ("transcriptions",
                       f"{turns[0]} [1.0-2.0]: [LAUGHTER] Ça va?\r\n{turns[2]} [1.0")):
        (place / sub).mkdir(parents=True, exist_ok=True)
        (place / sub / "Ses01F_impro01.txt").write_bytes(("\ufeff" + text).encode())
    with (place / "transcriptions/Ses01F_impro01.txt").open("a") as f:
        f.write("Ses01F_impro01_F099 [9.0-9.9]: Nobody said this.\nM: Nor this.\n")
    m = quiet_corpus("IEMOCAP", tmp_path)
    assert dict(zip(m.utterance.str[-4:], m.emotion, strict=True)) == {
        "F000": "angry", "F002": "happy", "F003": "neutral", "M000": "sad"}
    assert list(m.text) == ["Ça va?", "", "", ""]
    faults = [r["fault"] for r in m.attrs["rejected"]]
    assert sorted(faults) == ["a damaged label line", "a label without a clip",
                              "unknown emotion 'rage'"], faults


def break_things(root: Path, good: int) -> set[str]:
    "A folder in EmoDB's layout with `good` clips and every fault; the names of the good ones."
    clip = tiny(root / "wav" / "03a01Na.wav").read_bytes()
    kept = {"03a01Na"}
    for i in range(good):
        name = f"{i // 2600:02d}{'ab'[i // 100 % 2]}{i % 100:02d}{'WFNT'[i % 4]}"
        name += "abcdefghijklmnopqrstuvwxyz"[i // 200 % 26]
        (root / "wav" / f"{name}.wav").write_bytes(clip)
        kept.add(name)
    for name, data in {"empty": b"", "header": clip[:20], "text": b"no sound",
                       "lfs": b"version https://git-lfs.github.com/spec/v1\n"}.items():
        (root / "wav" / f"99a01W{name[0]}.wav").write_bytes(data)
    (root / "wav" / "98a01Wa.wav").mkdir()
    (root / "wav" / "98a01Wb.wav").symlink_to("nowhere.wav")
    (root / "wav" / "98a01Wc.wav").symlink_to("98a01Wc.wav")
    (root / "wav" / "again").symlink_to("..")
    (root / "more").mkdir()
    (root / "more" / "03a01Na.wav").write_bytes(clip)  # one name, two folders
    (root / "wav" / "._03a01Na.wav").write_bytes(b"macOS leaves these")
    with contextlib.suppress(OSError):  # not every file system takes this name
        (root / os.fsdecode(b"97a01W\xfc.wav")).write_bytes(clip)
    (root / "wav" / "98a01Wd.wav").write_bytes(clip)
    (root / "wav" / "98a01Wd.wav").chmod(0)
    if os.access(root / "wav" / "98a01Wd.wav", os.R_OK):  # the superuser reads everything
        kept.add("98a01Wd")
    for i, (rate, channels, subtype) in enumerate([
            (8000, 1, "PCM_16"), (96000, 1, "PCM_24"), (44100, 2, "FLOAT"), (48000, 6, "PCM_16"),
            (22050, 1, "PCM_U8"), (16000, 1, "DOUBLE")]):
        sound = np.zeros((rate // 5, channels))
        sound[:, 0] = np.nan if subtype == "DOUBLE" else 0.1
        soundfile.write(root / "wav" / f"96a01W{'abcdef'[i]}.wav", sound, rate, subtype)
        kept.add(f"96a01W{'abcdef'[i]}")
    soundfile.write(root / "wav" / "96a01Wx.flac", np.zeros(480), 24000)  # 20 ms
    soundfile.write(root / "wav" / "96a01Wy.flac", np.zeros(8000 * 600), 8000)  # ten minutes
    return kept | {"96a01Wx", "96a01Wy"}


def test_every_good_clip_of_a_broken_folder_is_kept(tmp_path):
    "Empty, cut, renamed, Git LFS, links to nothing and in circles, no permission, odd names."
    kept = break_things(tmp_path / "EmoDB", 300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        m = load_corpus("EmoDB", tmp_path)
    assert set(m.utterance) == kept and len(m) == len(kept)
    seconds = dict(zip(m.utterance, m.seconds, strict=True))
    assert (seconds["96a01Wx"], seconds["96a01Wy"], seconds["96a01Wd"]) == (0.02, 600, 0.2)
    faults = {r["fault"] for r in m.attrs["rejected"]}
    assert faults >= {"an empty file", "a Git LFS pointer, not the clip", "a link to nothing",
                      "a folder with the name of a clip"}
    assert all(r["fix"] for r in m.attrs["rejected"])


def test_what_a_reader_can_mistype_is_one_sentence(tmp_path):
    "Wrong names of corpora, folders and label sets, and stand-ins that cannot be made."
    (tmp_path / "a" / "IEMOCAP").mkdir(parents=True)
    file = tmp_path / "file"
    file.touch()
    for wrong in ((read_corpus, "IEMOCAP", tmp_path / "none"), (read_corpus, "IEMOCAP", tmp_path),
                  (read_corpus, "IMOCAP", tmp_path), (read_corpus, "RAVDESS", tmp_path, "votes"),
                  (find_corpus, tmp_path / "a", "URDU"), (find_corpus, "\0", "URDU"),
                  (find_corpus, "~nobody-of-this-name", "URDU"), (load_corpus, "URDU"),
                  (make_standins, tmp_path / "c", Standin(3, 2), ["EmoDB"]),
                  (Standin, 0, 2), (Standin, 3, 0),
                  (make_standins, file / "c", Standin(3, 2))):
        text = error_message(*wrong)
        assert text.endswith(".") and text.isprintable(), text


def test_standins_are_the_same_bytes_and_a_killed_attempt_is_cleared(tmp_path):
    "What a kill left is removed; one process or two, the bytes are the same."
    small = Standin(speakers=2, lines=1)
    stale = tmp_path / "a" / ".part-old"
    stale.mkdir(parents=True)
    for folder, jobs in (("a", 2), ("b", 1)):
        make_standins(tmp_path / folder, small, ["RAVDESS"], n_jobs=jobs)
    found = [{p.relative_to(tmp_path / folder): p.read_bytes()
              for p in (tmp_path / folder / "RAVDESS").rglob("*") if p.is_file()}
             for folder in "ab"]
    assert found[0] == found[1] and len(found[0]) > 10 and not stale.exists()


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A folder for the inputs that hypothesis makes up; holds one clip."
    folder = tmp_path_factory.mktemp("fuzz")
    tiny(folder / "y.wav")
    return folder


@FUZZ
@given(data=BLOBS)
def test_labels_of_any_bytes(arena, data):
    "Every parser of label files ends in a dict, and reports in three fields."
    file = arena / "labels.txt"
    file.write_bytes(data)
    decode_text(data)
    reading = Reading("IEMOCAP", arena)
    for parse in (corpora._iemocap_labels, corpora._iemocap_texts, corpora._msp_labels):
        assert isinstance(calm(parse, reading, str(file)), dict)
    calm(corpora._crema_votes, reading, [str(file)])
    assert all({*r} == {"file", "fault", "fix"} for r in reading.rejected)


@FUZZ
@given(magic=st.sampled_from([b"", b"RIFF", b"RIFF\xff\xff\xff\xffWAVEfmt ", b"fLaC", b"OggS",
                              b"FORM", None]), data=BLOBS,
       suffix=st.sampled_from([".wav", ".flac", ".ogg", ".aiff", ".au", ".caf"]))
def test_headers_of_any_bytes(arena, magic, data, suffix):
    "A header gives seconds, or a fault and a fix."
    file = arena / f"x{suffix}"
    file.write_bytes(((arena / "y.wav").read_bytes()[:44] if magic is None else magic) + data)
    seconds, fault, fix = corpora._clip_seconds(str(file))
    assert (seconds > 0) != bool(fault) and bool(fault) == bool(fix)
    file.unlink()


NAMES = st.text(max_size=30) | st.one_of(*(st.from_regex(p, fullmatch=True) for p in (
    corpora._IEMOCAP_TURN, corpora._MSP_TURN, CREMA_NAME, corpora._RAVDESS_NAME,
    corpora._EMODB_NAME, corpora._URDU_NAME)))


@FUZZ
@given(found=st.lists(NAMES, max_size=6), sub=st.sampled_from(["", "Angry", "EmoEvaluation"]),
       data=BLOBS)
def test_folders_of_any_names(arena, found, sub, data):
    "Every reader ends in a manifest of the four emotions, or in one sentence."
    with tempfile.TemporaryDirectory(dir=arena) as folder:
        os.makedirs(os.path.join(folder, sub), exist_ok=True)
        for name in found:
            with contextlib.suppress(OSError, ValueError, UnicodeError):
                shutil.copyfile(arena / "y.wav", os.path.join(folder, sub, name + ".wav"))
        Path(folder, sub, "Evalution.txt").write_bytes(data)
        for corpus in CORPORA:
            m = calm(read_corpus, corpus, folder)
            assert m is None or (set(m.emotion) <= {*EMOTIONS} and m.utterance.is_unique)


@FUZZ
@given(name=st.text(st.characters(codec="utf-8"), max_size=20))
def test_names_of_any_text(arena, name):
    "Names of corpora and folders end in a result or in one sentence."
    calm(find_corpus, arena, name)
    calm(find_corpus, name, "IEMOCAP")
    calm(corpus_name, name)
