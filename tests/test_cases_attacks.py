"""What attacks on half-done work broke once: damage, kills, disks; each is a test."""
import contextlib
import functools
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT
from forked import run_python
from safetensors import safe_open
from stripes import stripes
from torture import Bench, alive, bench, leftovers, wait_for_none
from typer.testing import CliRunner
from voice import babble, write_clips

from emodiff.app.cli import app
from emodiff.app.doctor import check_disk
from emodiff.augment.delivery import open_folder
from emodiff.base.cache import add_sum, check_sum
from emodiff.base.core import (
    EmodiffError,
    _writer,
    atomic,
    digest,
    error_message,
    sweep,
    write_json,
)
from emodiff.base.settings import Features, Standin
from emodiff.generator import checkpoints
from emodiff.generator.checkpoints import checkpoint_paths, newest_checkpoint, write_tensors
from emodiff.generator.sampling import shipped_generator
from emodiff.generator.vocoder import load_vocoder
from emodiff.speech.download import _unpack
from emodiff.speech.features import load_audio
from emodiff.speech.segments import load_segments, save_segments
from emodiff.speech.standins import make_standins

RATES = {"step": 1e-3, "sample": 1e-3, "wave": 1e-3, "fit": 1e-3, "cell": 1e-3,
         "generator": 1.0}


@pytest.fixture(scope="module")
def damaged() -> Iterator[Bench]:
    "Finished and half-done files of several kinds, stand-ins of their own among them."
    with mock.patch.dict(os.environ):
        os.environ.pop("EMODIFF_STANDINS", None)  # those that other tests share stay whole
        yield from _benched()


def _benched() -> Iterator[Bench]:
    "As `damaged`."
    with bench(["prepare", "train_folder", "sample", "copy", "standins"]) as made:
        yield made


def assert_mended(made: Bench, count: int, call: str = "", *states: str, name: str = "") -> None:
    "Damage so many files of a call; every result must be that of an undamaged home."
    said: list[str] = []
    chosen = [t for t in made.targets if call in t.call and (not states or t.state in states)
              and name in t.names[0]]
    found = made.damage_many(chosen, count, log=said.append)
    assert chosen and found["the same"] + found["told, then the same"] == count, said


def test_a1_a_damaged_journal_is_made_again(damaged: Bench) -> None:
    assert_mended(damaged, 12, "prepare", "early", name="journal.jsonl")
    assert_mended(damaged, 6, "prepare", "early", name="mels.npy")


def test_a2_a_part_that_was_complete_is_checked_before_it_is_renamed(damaged: Bench) -> None:
    assert_mended(damaged, 12, "prepare", "made", "sealed")
    assert_mended(damaged, 6, "copy", "made", "sealed")


def test_a3_chunks_carry_checksums(damaged: Bench) -> None:
    assert_mended(damaged, 4, "copy", "early", name="parts/")
    assert_mended(damaged, 4, "sample", "early")


def test_a4_the_header_of_a_checkpoint_is_under_the_checksum(tmp_path: Path) -> None:
    for step in (1, 2):
        write_tensors(tmp_path / "checkpoints" / f"step-{step:08d}.safetensors",
                      {"net": torch.arange(8.0), "more": torch.ones(2, 3, dtype=torch.bfloat16)},
                      {"step": step, "history": [{"loss": 0.5, "step": 1}], "key": "mine"})
    newest = checkpoint_paths(tmp_path)[-1]
    whole, rng = newest.read_bytes(), random.Random(0)
    for at in range(len(whole)):
        bad = bytearray(whole)
        bad[at] ^= 1 << rng.randrange(8)
        newest.write_bytes(bad)
        with pytest.warns(UserWarning, match="damaged"):
            found = newest_checkpoint(tmp_path, "mine")
        assert found is not None and found[1]["step"] == 1 and not newest.exists(), at
    newest.write_bytes(whole)
    with safe_open(newest, "pt") as f:  # the header says so itself
        assert check_sum(f.metadata()["emodiff"])["about"]["step"] == 2


def test_a4_a_damaged_folder_of_a_training_is_finished_again(damaged: Bench) -> None:
    assert_mended(damaged, 12, "train_folder")


def test_a5_a_changed_stand_in_is_made_again(damaged: Bench) -> None:
    assert_mended(damaged, 3, "standins", "finished")


def test_a5_a_corpus_that_was_not_made_here_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "CREMA-D" / "AudioWAV" / "1001_IEO_ANG_HI.wav"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"somebody's recording")
    make_standins(tmp_path, Standin(speakers=2, lines=1), ["CREMA-D"])
    assert theirs.read_bytes() == b"somebody's recording"


def test_a1_to_a5_any_file_of_any_kind(damaged: Bench) -> None:
    assert_mended(damaged, 18)


WAITING = """
import sys, time
from joblib import Parallel, delayed
from emodiff.base.settings import Protocol
from emodiff.base.workers import worker_backend
with worker_backend(Protocol(jobs=2), 2):
    Parallel()(delayed(time.sleep)(100) for _ in range(2))
"""
CHAPTER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_reproduce import task, write_chapter
from emodiff.app.reproduce import run_chapters
nbs = Path(sys.argv[2])
write_chapter(nbs, "import time\\ntime.sleep(100)")
run_chapters([task(nbs)])
"""


def assert_nothing_outlives(home: Path, words: list[str], count: int) -> None:
    "Start Python, kill it when it has so many processes; ten seconds later there must be none."
    env = {**os.environ, "EMODIFF_HOME": str(home)}
    env.pop("IN_TEST")
    process = subprocess.Popen([sys.executable, "-c", *words], env=env, cwd=ROOT,
                               stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 120
        while len(alive(home)) < count and time.monotonic() < end and process.poll() is None:
            time.sleep(0.1)
        found = alive(home)
        assert len(found) >= count, found
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (late := wait_for_none(home)), late
    finally:
        process.kill()
        for pid in alive(home):  # of this test alone: their home says so
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def test_a6_workers_end_with_their_parent(home: Path) -> None:
    assert_nothing_outlives(home, [WAITING], 4)  # two workers, and what joblib starts beside them


SPEAKING = """
import sys
from emodiff.base.settings import Standin
from emodiff.speech.standins import make_standins
make_standins(sys.argv[1], Standin(speakers=2, lines=1), ["CREMA-D"])
"""


def test_a6_speakers_of_stand_ins_end_with_their_parent(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    "Also while they are still importing, as on a machine with much else to do."
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "parselmouth.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "slow"))
    assert_nothing_outlives(home, [SPEAKING, str(home)], 3)


def test_a6_a_chapter_ends_with_the_command_that_runs_it(home: Path) -> None:
    assert_nothing_outlives(home, [CHAPTER, str(ROOT / "tests"), str(home / "nbs")], 3)


KILLED = """
import os, signal, sys, warnings
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from stripes import stripes
from emodiff.base.settings import load_preset
from emodiff.generator import vocoder
from emodiff.generator.training import train_generator
import torch
torch.set_num_threads(1)
warnings.simplefilter("ignore")
vocoder._COPY_CHUNK = 1
segments, smoke = stripes(8), load_preset("smoke")
def copy(home):
    vocoder.copy_synthesis(segments.take(range(2)), "", smoke)
def train(home):
    train_generator(segments, smoke, home / "mine")
def run(work, home, last):
    "In a process of its own, killed when it renames a file for the time `last`."
    pid = os.fork()
    if pid == 0:
        os.environ["EMODIFF_HOME"] = str(home)
        seen = [0]
        def step(event, args):
            seen[0] += event == "os.rename" and str(home) in str(args[0])
            if event == "os.rename" and seen[0] == last:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(step)
        work(home)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])
for work in (copy, train):
    folder = Path(sys.argv[2]) / work.__name__
    assert not run(work, folder / "whole", 0)
    kills = 0
    for last in (1, 2, 3):
        kills += run(work, folder / "killed", last)
    assert not run(work, folder / "killed", 0) and kills == 3, kills
"""


def test_a7_kills_leave_the_same_bytes_and_no_temporary_file(tmp_path: Path) -> None:
    done = run_python("-c", KILLED, ROOT / "tests", tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    for work in ("copy", "train"):
        whole, killed = (folder_contents(tmp_path / work / name) for name in ("whole", "killed"))
        assert whole and whole == killed
        assert not leftovers(tmp_path / work / "killed")


def folder_contents(folder: Path) -> dict[str, bytes]:
    "Files by their bytes, but for run.json, which tells the time."
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*")
            if p.is_file() and p.suffix != ".lock" and p.name not in ("run.json", ".lock")}


def test_a7_only_what_dead_processes_left_is_swept(tmp_path: Path) -> None:
    with atomic(tmp_path / "mine.npy") as mine:
        mine.touch()
        child = os.fork()
        if child == 0:
            with atomic(tmp_path / "theirs.npy") as tmp:
                tmp.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        (tmp_path / ".notes-of-a-reader.x.txt").touch()
        assert len(list(tmp_path.iterdir())) == 3
        sweep(tmp_path)
        assert mine.exists() and len(list(tmp_path.iterdir())) == 2


READ_ONLY = """
import errno, os, sys
home = os.environ["EMODIFF_HOME"]
def refuse(event, args):
    "As a file system that is mounted read-only."
    writes = event in ("os.mkdir", "os.rename", "os.remove") or event == "open" and (
        isinstance(args[1], str) and set(args[1]) & set("wax+")
        or isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR))
    if writes and str(args[0]).startswith(home):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), args[0])
sys.addaudithook(refuse)
from emodiff.app.cli import main
main()
"""


def ended(words: list[str], **env: str) -> subprocess.CompletedProcess:
    "What became of a command in an environment of its own."
    return subprocess.run([sys.executable, *words], env={**os.environ, **env}, text=True, cwd=ROOT,
                          capture_output=True, stdin=subprocess.DEVNULL)


def test_a_read_only_home_is_one_sentence(home: Path, tmp_path: Path) -> None:
    table = write_clips(tmp_path / "clips", 3).rename(columns={"path": "file"})
    table.to_csv(tmp_path / "my.csv", index=False)
    words = ["prepare", str(tmp_path / "my.csv"), "--out", str(tmp_path / "out")]
    done = run_python("-c", READ_ONLY, *words)
    assert done.returncode == 1 and "Read-only file system" in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1 and not list(home.iterdir())
    assert run_python("-m", "emodiff", *words).returncode == 0
    kept = sorted(home.rglob("*"))
    again = run_python("-c", READ_ONLY, *words)  # what is there is read
    assert again.returncode == 0 and sorted(home.rglob("*")) == kept, again.stderr


def test_the_doctor_reports_a_disk_and_changes_nothing(home: Path, monkeypatch) -> None:
    assert not next(check_disk()).fault and not list(home.iterdir())
    monkeypatch.setattr("os.access", lambda *_: False)  # as on a read-only disk
    finding = next(check_disk())
    assert finding.fault and "cannot write below" in finding.line()


def test_a_terminal_that_knows_ascii_only(home: Path) -> None:
    words = ["-m", "emodiff", "download", "EmoDB", "--dry-run", "--to", "schöne Stimmen"]
    done = ended(words, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode == 0 and r"sch\xf6ne Stimmen" in done.stdout, done.stderr


def test_no_home_folder(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "emodiff", "download", "EmoDB", "--dry-run"],
                          env={"PATH": os.environ["PATH"]}, cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr


NOBODY = """
import os, pwd
def unknown(uid):
    "As for a user whom the machine's list does not have."
    raise KeyError(uid)
pwd.getpwuid = unknown
from emodiff.app.cli import main
main()
"""


def test_a_user_without_a_home_folder(home: Path) -> None:
    words = ("download", "EmoDB", "--to", "~/corpora", "--dry-run")
    done = subprocess.run([sys.executable, "-c", NOBODY, *words], cwd=ROOT, text=True,
                          env={"PATH": os.environ["PATH"], "EMODIFF_HOME": str(home)},
                          capture_output=True)
    assert done.returncode == 1 and "set HOME or EMODIFF_HOME" in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_two_trainings_of_the_same_at_once(home: Path) -> None:
    "Both write the folder of one training: both end well, and with the same bytes."
    done = run_python("-c", TWO_AT_ONCE, ROOT / "tests", home)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not leftovers(home)


TWO_AT_ONCE = """
import os, sys, warnings
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from stripes import stripes
from emodiff.base.core import digest
from emodiff.base.settings import load_preset
from emodiff.generator.training import train_generator
torch.set_num_threads(1)
home, few = Path(sys.argv[2]), load_preset("smoke", training=dict(
    steps=12, batch=4, checkpoint_every=1))
train_generator(stripes(8), few, home / "alone")
pids = []
for i in range(2):
    pids.append(os.fork())
    if pids[-1] == 0:
        try:
            train_generator(stripes(8), few, home / "both")
            os._exit(0)
        finally:
            os._exit(1)
assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]
for name in ("model.safetensors", "config.json", "history.csv"):
    assert digest(home / "alone" / name) == digest(home / "both" / name), name
"""


# Absurd sizes are refused before memory or disk is taken.

def outcome_in_little_memory(work: Callable[[], Any], mebibytes: int = 256) -> str:
    "What a call says in a child that may take so much more memory than it has, and 20 seconds."
    there, here = os.pipe()
    if (child := os.fork()) == 0:
        now = int(re.findall(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[0]) << 10
        resource.setrlimit(resource.RLIMIT_AS, (now + (mebibytes << 20),) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        try:
            said = f"fine: {work()}"
        except BaseException as e:
            said = f"{type(e).__name__}: {e}"
        os.write(here, said.encode()[:2000])
        os._exit(0)
    os.close(here)
    with os.fdopen(there, "rb") as pipe:
        said = pipe.read().decode()
    assert os.waitpid(child, 0)[1] == 0, said
    return said


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")


def refused(work: Callable[[], Any], kind: str = "EmodiffError") -> bool:
    "True where the child was refused in one sentence."
    said = outcome_in_little_memory(work)
    return said.startswith(f"{kind}: ") and said.endswith(".") and "\n" not in said or print(said)


@needs_proc
@pytest.mark.parametrize(("place", "value"), [
    *((f"denoiser.{name}", 10**9) for name in ("channels", "blocks_before", "time_channels",
                                               "positions", "condition_channels", "dilation")),
    ("denoiser.channels", 4096), ("features.frames", 10**12), ("diffusion.steps", 10**12),
    ("shape", [80, 10**12]), ("shape", [80]), ("prompt_dim", 10**9), ("prompt_len", "long")])
def test_a_generator_of_absurd_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, value: Any,
) -> None:
    "Refused before a network is built."
    config = check_sum((shipped_generator() / "config.json").read_bytes())
    assert config is not None
    *names, last = place.split(".")
    functools.reduce(dict.__getitem__, names, config["settings"] if names else config)[last] = value
    write_json(tmp_path / "config.json", add_sum(config))
    shutil.copy(shipped_generator() / "model.safetensors", tmp_path)

    monkeypatch.setattr(checkpoints, "DenoiserNet", mock.Mock(side_effect=AssertionError))
    assert refused(lambda: checkpoints.load_network(tmp_path))


@pytest.fixture(scope="module")
def small_vocoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A HiFi-GAN of few channels."
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    folder = tmp_path_factory.mktemp("vocoder")
    SpeechT5HifiGan(SpeechT5HifiGanConfig(
        sampling_rate=22050, upsample_initial_channel=16, upsample_rates=[8, 8, 2, 2],
        upsample_kernel_sizes=[16, 16, 4, 4])).save_pretrained(folder)
    return folder


@needs_proc
@pytest.mark.parametrize("change", [
    {"upsample_initial_channel": 10**9}, {"model_in_dim": 10**9}, {"upsample_rates": [10**9] * 4},
    {"resblock_kernel_sizes": [10**9, 7, 11]}, {"resblock_dilation_sizes": [[10**9] * 3] * 3},
    {"upsample_rates": [8, 8, 2, 2, *[1] * 10**5]}, {"sampling_rate": 10**12}, {"header": 2**60}])
def test_a_vocoder_of_absurd_sizes(
    tmp_path: Path, small_vocoder: Path, change: dict[str, Any],
) -> None:
    config = json.loads((small_vocoder / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    raw = (small_vocoder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(
        struct.pack("<Q", config["header"]) + raw[8:] if "header" in change else raw)
    assert refused(lambda: load_vocoder(tmp_path))
    if "sampling_rate" in change:  # as it was made, it is taken
        assert outcome_in_little_memory(lambda: load_vocoder(small_vocoder), 1024)[:4] == "fine"


@needs_proc
def test_weights_and_arrays_of_absurd_sizes(tmp_path: Path) -> None:
    "Headers that claim terabytes: safetensors, a NumPy file, and one that is compressed."
    weights = tmp_path / "model.safetensors"
    for shape in ([10**12], [2**62, 2**62]):
        header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [
            0, 4 * 10**12]}}).encode()
        weights.write_bytes(struct.pack("<Q", len(header)) + header + bytes(100))
        assert refused(lambda: checkpoints.read_tensors(weights))
    weights.write_bytes(struct.pack("<Q", 2**62) + bytes(100))
    assert refused(lambda: checkpoints.read_tensors(weights))
    folder = save_segments(stripes(1), tmp_path / "segments")
    for shape in ((10**12, 80, 256), (10**9,), (2**62, 2**62), (0, 80)):
        with (folder / "mels.npy").open("wb") as f:
            np.lib.format.write_array_header_1_0(
                f, {"descr": "<f2", "fortran_order": False, "shape": shape})
            f.write(bytes(64))
        seal(folder)  # as somebody would who means harm
        assert refused(lambda: load_segments(folder))


def seal(folder: Path) -> None:
    "Write the hashes of a folder of segments anew."
    names = check_sum((folder / "sums.json").read_bytes()) or {}
    write_json(folder / "sums.json", add_sum({name: digest(folder / name) for name in names}))


@needs_proc
def test_recordings_of_absurd_sizes(tmp_path: Path) -> None:
    "A wav header of 4 GiB over a second of sound, the same with a hole of 4 GiB, and a FLAC."
    sound = np.round(babble(1.0, 16000, silence=0) * 32767).astype("<i2")
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 0xFFFFFFFF, b"WAVE", b"fmt ", 16, 1, 1, 16000,
                       32000, 2, 16, b"data", 0xFFFFFF80)
    (tmp_path / "claims.wav").write_bytes(head + sound.tobytes())
    said = outcome_in_little_memory(lambda: len(load_audio(tmp_path / "claims.wav", Features())))
    assert re.fullmatch(r"fine: 2[12]\d{3}|BrokenClip: .*", said), said
    with (tmp_path / "hole.wav").open("wb") as f:
        f.write(head)
        f.truncate(4 << 30)
    soundfile.write(tmp_path / "x.flac", sound, 16000)
    flac = bytearray((tmp_path / "x.flac").read_bytes())
    flac[21:26] = bytes([flac[21] | 15]) + b"\xff" * 4  # the number of its samples
    (tmp_path / "x.flac").write_bytes(flac)
    for name in ("hole.wav", "x.flac"):
        assert refused(lambda n=name: load_audio(tmp_path / n, Features()), "BrokenClip")


@needs_proc
def test_an_archive_of_absurd_size(tmp_path: Path) -> None:
    "A zip of zeros: what unpacks to more than is allowed leaves nothing, whatever it claims."
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("wav/03a01Fa.wav", bytes(64 << 20))
    raw = (tmp_path / "bomb.zip").read_bytes()
    assert len(raw) < 1 << 20
    size = struct.pack("<I", 64 << 20)
    (tmp_path / "liar.zip").write_bytes(raw.replace(size, struct.pack("<I", 1000)))
    for name in ("bomb.zip", "liar.zip"):
        assert refused(lambda n=name: _unpack(tmp_path / n, tmp_path / "out", 32 << 20))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bomb.zip", "liar.zip"]


# Folders that the reader names: what is written there, and by whom.

def flipped(path: Path, rng: random.Random) -> bytes:
    "A file with one bit changed; returns what it was."
    raw = path.read_bytes()
    at = rng.randrange(len(raw))
    path.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << rng.randrange(8))]) + raw[at + 1:])
    return raw


def test_a_flipped_bit_in_what_prepare_wrote_is_refused_and_prepare_mends_it(
    home: Path, tmp_path: Path,
) -> None:
    "Mels, table, types, labels and the hashes themselves; then the same command again."
    table = write_clips(tmp_path / "clips", 4).rename(columns={"path": "file"})
    table.to_csv(tmp_path / "my.csv", index=False)
    out, rng = tmp_path / "out", random.Random(0)
    command = ["prepare", str(tmp_path / "my.csv"), "--out", str(out), "--jobs", "1"]
    assert CliRunner().invoke(app, command).exit_code == 0
    whole = folder_contents(out)
    assert len(whole) == 5 and len(load_segments(out)) == 4
    parts = sorted(p for p in out.iterdir() if p.name != ".lock")
    for path in parts:
        for _ in range(4):
            raw = flipped(path, rng)
            message = error_message(load_segments, out)
            assert "damaged" in message and "make it again" in message, path
            path.write_bytes(raw)
    for path in parts:
        path.write_bytes(b"") if path.name[0] == "t" else path.unlink()
        assert error_message(load_segments, out)
    (out / f".mels-{_writer(2**22 - 1)}.abcdefgh.npy").touch()  # of a process that is no more
    assert CliRunner().invoke(app, command).exit_code == 0
    assert folder_contents(out) == whole and not leftovers(out)


def test_a_damaged_record_of_augment_is_told(tmp_path: Path) -> None:
    "Any flipped bit of augment.json; where nothing was made yet, the record is written anew."
    open_folder(tmp_path, "asked", "key")
    record, rng = tmp_path / "augment.json", random.Random(0)
    for _ in range(20):
        raw = flipped(record, rng)
        assert open_folder(tmp_path, "asked", "key") and record.read_bytes() == raw
    (tmp_path / "augmented.csv").write_text("file")
    assert open_folder(tmp_path, "asked", "key") == tmp_path
    for _ in range(50):
        raw = flipped(record, rng)
        assert "is damaged" in error_message(open_folder, tmp_path, "asked", "key")
        record.write_bytes(raw)
    assert "other speech" in error_message(open_folder, tmp_path, "else", "key")


HELD = """
import sys, time
from emodiff.base.cache import sole_writer
with sole_writer(sys.argv[1]):
    print("held", flush=True)
    time.sleep(100)
"""


def test_two_runs_into_one_folder(home: Path, tmp_path: Path) -> None:
    "prepare, sample and augment: the second is told at once, and writes nothing."
    table = write_clips(tmp_path / "clips", 12).rename(columns={"path": "file"})
    table = table.assign(emotion=["sad", "happy"] * 6, gender="f", text="a")
    table.to_csv(tmp_path / "my.csv", index=False)
    table[["text", "emotion"]].assign(speaker="").to_csv(tmp_path / "plan.csv", index=False)
    my, out = str(tmp_path / "my.csv"), ["--out", str(tmp_path / "out")]
    commands = [["prepare", my, *out], ["sample", "demo", str(tmp_path / "plan.csv"), *out],
                ["augment", my, *out, "--preset", "smoke", "--ways", "synthetic"]]
    first = subprocess.Popen([sys.executable, "-c", HELD, out[1]], stdout=subprocess.PIPE)
    try:
        assert first.stdout is not None and first.stdout.readline() == b"held\n"
        with mock.patch("emodiff.augment.run.measured_rates", lambda *_: RATES):
            for command in commands:
                done = CliRunner().invoke(app, command)
                assert isinstance(done.exception, EmodiffError), done.output
                assert "another run is writing into" in str(done.exception)
                assert [p.name for p in (tmp_path / "out").iterdir()] == [".lock"]
    finally:
        first.kill()
        first.wait()
    done = CliRunner().invoke(app, commands[0])  # a lock ends with its process
    assert done.exit_code == 0 and len(load_segments(tmp_path / "out")) == 12
