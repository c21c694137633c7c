"""speech.segments.prepare: kills, flipped bits, memory, broken clips, full disks."""
import contextlib
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
from forked import run_python
from voice import babble, write_clips

from emodiff.base.core import digest, error_message
from emodiff.base.settings import Features, replace
from emodiff.speech import segments as module
from emodiff.speech.segments import prepare

SETTINGS = Features()
PREPARE = """
import os, signal, sys
import pandas as pd
from pathlib import Path
from emodiff.base.settings import Features
from emodiff.speech import segments
last, seen, home = int(sys.argv[2]), 0, os.environ["EMODIFF_HOME"]
def step(event, args):
    global seen
    if event in ("task", "open", "os.rename", "os.remove", "os.truncate") and home in str(args[0]):
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)
def task(paths, settings, work=segments._prepare_clips):
    step("task", [home])
    return work(paths, settings)
sys.addaudithook(step)
segments._prepare_clips = task
paths = sorted(map(str, Path(sys.argv[1]).iterdir()))
segments.prepare(pd.DataFrame({"path": paths}), Features(), jobs=1)
print(seen)
"""
MEMORY = """
import re, sys
import pandas as pd
from pathlib import Path
from emodiff.base.settings import Features
from emodiff.speech.segments import prepare
segments = prepare(pd.DataFrame({"path": [sys.argv[1]] * int(sys.argv[2])}), Features(), jobs=1)
status = Path("/proc", "self", "status")  # ru_maxrss would count the process that started us
peak = int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1]) if status.exists() else 0
print(len(segments), peak / 1024)
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    "A manifest of 80 short clips: five tasks."
    return write_clips(tmp_path_factory.mktemp("speech") / "clips", 80)


def prepared(folder: Path, home: Path, last: int = 0) -> subprocess.CompletedProcess[str]:
    "A process that prepares the clips of a folder and is killed at its step `last`."
    env = {**os.environ, "EMODIFF_HOME": str(home), "EMODIFF_PROGRESS": "text"}
    return run_python("-c", PREPARE, folder, last, env=env)


def outcome(home: Path) -> dict[str, str]:
    "The hashes of what the one run below `home` left."
    run, = (p for p in (home / "data/runs/features").iterdir() if p.is_dir())
    return {p.name: digest(p) for p in run.iterdir() if p.name != "run.json"}


@pytest.fixture(scope="module")
def whole(clips: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    "What a run leaves that nobody kills."
    home = tmp_path_factory.mktemp("whole")
    # a fresh interpreter: another hash seed than in the killed runs must not matter to the bytes
    done = subprocess.run([sys.executable, "-c", PREPARE, str(Path(clips["path"][0]).parent), "0"],
                          env={**os.environ, "EMODIFF_HOME": str(home)},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30  # more steps than the tests kill at
    return outcome(home)


@pytest.mark.parametrize("last", [12, 30])
def test_a_killed_run_continues_to_the_same_bytes(clips, whole, tmp_path, last):
    "kill -9 at a step, then half-written ends of both files: the next run repairs all."
    folder = Path(clips["path"][0]).parent
    done = prepared(folder, tmp_path, last)
    assert done.returncode == -signal.SIGKILL, done.stderr
    part, = (tmp_path / "data/runs/features").glob("*.part")
    if (part / "journal.jsonl").exists():  # as if killed in the midst of writing, and worse
        with (part / "mels.npy").open("ab") as f, (part / "journal.jsonl").open("ab") as g:
            f.write(b"half a Mel")
            g.write(b'{"clips": [[3')
    (part / ".mels-half.npy").write_bytes(b"x")
    done = prepared(folder, tmp_path)
    assert done.returncode == 0, done.stderr
    assert outcome(tmp_path) == whole


def test_a_flipped_bit_is_made_again_and_processes_do_not_matter(clips, whole, tmp_path):
    "A run stopped before its last step, one bit flipped: two processes finish it."
    paths = clips["path"].tolist()
    with (contextlib.suppress(KeyboardInterrupt),
          mock.patch.object(module, "_finish", side_effect=KeyboardInterrupt)):
        module._make(tmp_path, paths, SETTINGS, 1)
    raw = bytearray((tmp_path / "mels.npy").read_bytes())
    raw[module._HEADER + 20 * 40960] ^= 1  # in the second task of five
    (tmp_path / "mels.npy").write_bytes(raw)
    with pytest.warns(UserWarning, match="damaged"):
        assert len(module._resume(tmp_path, 40960)) == 1
    module._make(tmp_path, paths, SETTINGS, 2)
    (tmp_path / "journal.jsonl").unlink()  # as the run cache does
    assert {p.name: digest(p) for p in tmp_path.iterdir()}.items() <= whole.items()


def test_the_cache_follows_contents_and_settings(clips, home, tmp_path):
    "The same clips are drawn from the cache; a label decides nothing; a sample and a setting do."
    manifest = write_clips(tmp_path / "few", 20)
    segments = prepare(manifest, SETTINGS)
    assert (segments.table["path"] == manifest["path"]).all()
    assert isinstance(segments.mels, np.memmap) and (segments.table["segment"] == 0).all()
    assert prepare(manifest, SETTINGS).folder == segments.folder
    assert prepare(manifest.assign(emotion="happy"), SETTINGS).folder == segments.folder
    changed = Path(manifest["path"][3])
    changed.write_bytes(changed.read_bytes()[:-1] + b"\x01")  # one sample's upper byte
    assert prepare(manifest, SETTINGS).folder != segments.folder
    assert prepare(manifest, replace(SETTINGS, peak=0.9)).folder != segments.folder


def test_the_readers_rejections_stand_in_the_same_report(clips, home):
    "What the corpus's reader rejected is in rejected.csv too."
    manifest = clips[:3].copy()
    rejected = {"file": "0099.wav", "fault": "an unknown emotion", "fix": "add it to the mapping"}
    manifest.attrs["rejected"] = [rejected]
    folder = prepare(manifest, SETTINGS).folder
    assert pd.read_csv(folder / "rejected.csv").to_dict("records") == [rejected]


def test_memory_does_not_grow_with_the_corpus(clips, tmp_path):
    "The clips of a task, their Mels and a line of the journal each are all that is held."
    peaks = []
    for count in (64, 1024):
        out = subprocess.run([sys.executable, "-c", MEMORY, clips["path"][0], str(count)],
                             check=True, capture_output=True,
                             env={**os.environ, "EMODIFF_HOME": str(tmp_path / "home")})
        size, peak = map(float, out.stdout.split())
        assert size == count
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 32


def break_clips(folder: Path) -> dict[str, str]:
    "Clips with one fault each: path to the words that name the fault, or '' where none does."
    good, loose = babble(1.0), dict(subtype="FLOAT")
    wide = soxr.resample(good, 22050, 48000)
    folder.mkdir()
    faults = {}

    def write(name, samples=good, fault="", rate=22050, keep=None, **options):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, samples, rate, **options)
        if keep is not None:
            size = keep if keep > 1 else keep * path.stat().st_size
            path.write_bytes(path.read_bytes()[:int(size)])
        faults[str(path)] = fault

    write("good.wav")
    write("empty.wav", fault="is empty", keep=0)
    write("header.wav", fault="not audio", keep=20)
    write("only_header.wav", fault="holds no samples", keep=44)
    write("half.wav", fault="was cut off", keep=0.5)
    write("half.flac", fault="not audio", keep=0.5)
    write("most.ogg", fault="was cut off", keep=0.9)
    write("half.aiff", fault="was cut off", keep=0.5)
    write("nearly_whole.wav", keep=(folder / "good.wav").stat().st_size - 100)  # 2 ms: forgiven
    write("nan.wav", np.append(good, np.nan), "not finite", **loose)
    write("inf.wav", np.append(good, np.inf), "not finite", **loose)
    write("zeros.wav", 0 * good, "silent")
    write("offset.wav", 0 * good + 0.3, "silent")
    write("short.wav", good[11025:11025 + 441], "lasts 0.020 s")
    write("click.wav", np.eye(1, 22050, 9000)[0], "less than 0.1 s of sound")
    write("long.wav", np.tile(good, 300))
    write("too_long.wav", np.zeros(8000 * 1201), "lasts 1201 s", rate=8000, subtype="PCM_U8")
    write("8k.wav", soxr.resample(good, 22050, 8000), rate=8000)
    write("96k.wav", soxr.resample(good, 22050, 96000), rate=96000)
    write("300.wav", good, "300 Hz", rate=300)
    write("24bit.wav", wide, rate=48000, subtype="PCM_24")
    write("float.wav", 40 * good, **loose)  # louder than full scale
    write("huge.wav", 1e30 * good.astype(np.float64), subtype="DOUBLE")
    write("dead_channel.wav", np.stack([good, 0 * good], axis=1))
    write("opposite_channels.wav", np.stack([good, -good], axis=1))
    write("5.1.wav", wide[:, None] * [0.1, 0.1, 1, 0, 0, 0], rate=48000)
    write("session1/same.wav")
    write("session2/same.wav", babble(1.0, seed=2))
    return faults


def break_names(faults: dict[str, str], folder: Path) -> dict[str, str]:
    "More faults: what a file system can do to a name."
    def plain(name, fault):
        faults[str(folder / name)] = fault
        return folder / name

    plain("text.wav", "not audio").write_text("Dear Sir, please find attached\n" * 40)
    plain("folder.wav", "is a folder").mkdir()
    plain("broken_link.wav", "a file that is gone").symlink_to("nowhere.wav")
    plain("loop.wav", "leads back to itself").symlink_to("loop.wav")
    os.mkfifo(plain("pipe.wav", "a pipe"))
    plain("link.wav", "").symlink_to("good.wav")
    plain("missing.wav", "is not there")
    plain("locked.wav", "may not be read").write_bytes((folder / "good.wav").read_bytes())
    with contextlib.suppress(OSError):  # a name in Latin-1; some file systems take UTF-8 alone
        name = os.fsdecode(os.fsencode(folder) + b"/caf\xe9.wav")
        Path(name).write_bytes((folder / "good.wav").read_bytes())
        faults[name] = ""
    return faults


def test_every_good_clip_is_kept_and_every_broken_one_named(home, tmp_path):
    "Every fault that a folder of clips has shown to somebody: what is wrong, and what to do."
    faults = break_names(break_clips(tmp_path / "broken"), tmp_path / "broken")
    access = os.access  # root may read everything, so the lock is played
    lock = mock.patch("os.access", lambda path, mode: "locked" not in str(path)
                      and access(path, mode))
    with lock, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kept = prepare(pd.DataFrame({"path": list(faults)}), SETTINGS, jobs=1)
    assert "clips cannot be used" in str(caught[-1].message)
    rejected = pd.read_csv(kept.folder / "rejected.csv").set_index("file")
    assert set(rejected.index) == {path for path, fault in faults.items() if fault}
    for path, fault in faults.items():
        assert not fault or fault in rejected.loc[path, "fault"], (path, fault, rejected.loc[path])
    assert set(kept.table["path"]) == {path for path, fault in faults.items() if not fault}
    assert rejected["fix"].str.len().gt(0).all()
    bad = [path for path, fault in faults.items() if fault and "locked" not in path]
    message = error_message(prepare, pd.DataFrame({"path": bad}), SETTINGS)
    assert message.startswith(f"none of the {len(bad)} clips can be used: the first, ")


def test_a_full_disk_is_one_sentence_and_the_next_run_continues(clips, home):
    "No space left: an error that says what to do; with space, the run ends well."
    full = mock.patch.object(module, "_prepare_clips",
                             side_effect=OSError(28, "No space left on device"))
    with full:
        message = error_message(prepare, clips[:20], SETTINGS, jobs=1)
    assert "No space left on device" in message and message.endswith("it will continue.")
    assert len(prepare(clips[:20], SETTINGS, jobs=1)) == 20


def test_wrong_calls_are_one_sentence(clips, home):
    "A manifest without clips, and a wrong number of processes."
    for wrong, jobs in ((pd.DataFrame({"file": ["a.wav"]}), 1), (pd.DataFrame({"path": []}), 1),
                        (pd.DataFrame({"path": [float("nan")]}), 1), (clips, 0)):
        assert error_message(prepare, wrong, SETTINGS, jobs).endswith(".")


def test_one_gain_per_corpus_keeps_loud_and_quiet_apart(tmp_path, home):
    "Each corpus's loudest clip has the peak; by default every clip has it."
    wave, rows = babble(1.0), []
    for corpus, name, gain in (("A", "loud", 0.5), ("A", "quiet", 0.05), ("B", "faint", 0.02)):
        soundfile.write(tmp_path / f"{name}.wav", gain * wave, 22050, subtype="FLOAT")
        rows.append({"path": str(tmp_path / f"{name}.wav"), "corpus": corpus})
    soundfile.write(tmp_path / "broken.wav", wave[:0], 22050)
    rows.append({"path": str(tmp_path / "broken.wav"), "corpus": "B"})
    manifest, span = pd.DataFrame(rows), SETTINGS.log_ceiling - np.log(SETTINGS.log_floor)
    with pytest.warns(UserWarning, match="1 of 4"):
        alike = prepare(manifest, SETTINGS, jobs=1).mels.astype(float)
        kept = prepare(manifest, replace(SETTINGS, loudness="corpus"), jobs=1).mels.astype(float)
    assert np.abs(alike - alike[0]).max() < 2e-3
    assert np.abs(kept[[0, 2]] - alike[0]).max() < 2e-3
    assert np.isclose((kept[0] - kept[1]).max() * span / 2, np.log(10), atol=0.02)  # 20 dB
