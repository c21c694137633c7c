"""What attacks on half-done work broke once: damage, kills, disks; each is a test."""
import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch
from conftest import ROOT
from safetensors import safe_open
from torture import Bench, alive, bench, leftovers, wait_for_none
from voice import write_clips

from emodiff.app.doctor import check_disk
from emodiff.base.cache import check_sum
from emodiff.base.core import atomic, sweep
from emodiff.base.settings import Standin
from emodiff.generator.checkpoints import checkpoint_paths, newest_checkpoint, write_tensors
from emodiff.speech.standins import make_standins


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
    for last in (1, 2, 2, 1, 3):
        kills += run(work, folder / "killed", last)
    assert not run(work, folder / "killed", 0) and kills >= 4, kills
"""


def test_a7_kills_leave_the_same_bytes_and_no_temporary_file(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(ROOT / "tests"), str(tmp_path)],
                          capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    for work in ("copy", "train"):
        whole, killed = (folder_contents(tmp_path / work / name) for name in ("whole", "killed"))
        assert whole and whole == killed
        assert not leftovers(tmp_path / work / "killed")


def folder_contents(folder: Path) -> dict[str, bytes]:
    "Files by their bytes, but for run.json, which tells the time."
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*")
            if p.is_file() and p.suffix != ".lock" and p.name != "run.json"}


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
    done = ended(["-c", READ_ONLY, *words], EMODIFF_HOME=str(home))
    assert done.returncode == 1 and "Read-only file system" in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1 and not list(home.iterdir())
    assert ended(["-m", "emodiff", *words], EMODIFF_HOME=str(home)).returncode == 0
    kept = sorted(home.rglob("*"))
    again = ended(["-c", READ_ONLY, *words], EMODIFF_HOME=str(home))  # what is there is read
    assert again.returncode == 0 and sorted(home.rglob("*")) == kept, again.stderr


def test_the_doctor_reports_a_disk_and_changes_nothing(home: Path, monkeypatch) -> None:
    assert not next(check_disk()).fault and not list(home.iterdir())
    refuse = mock.Mock(side_effect=OSError(errno.EROFS, "Read-only file system"))
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    finding = next(check_disk())
    assert finding.fault and "Read-only file system" in finding.line()


def test_a_terminal_that_knows_ascii_only(home: Path) -> None:
    words = ["-m", "emodiff", "download", "EmoDB", "--dry-run", "--to", "schöne Stimmen"]
    done = ended(words, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode == 0 and r"sch\xf6ne Stimmen" in done.stdout, done.stderr


def test_no_home_folder(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "emodiff", "download", "EmoDB", "--dry-run"],
                          env={"PATH": os.environ["PATH"]}, cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_two_trainings_of_the_same_at_once(home: Path) -> None:
    "Both write the folder of one training: both end well, and with the same bytes."
    done = subprocess.run([sys.executable, "-c", TWO_AT_ONCE, str(ROOT / "tests"), str(home)],
                          capture_output=True, text=True, cwd=ROOT)
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
