"""The run cache survives kills, damage and two makers at once."""
import errno
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from forked import run_python

from emodiff.base.cache import (
    NotCachedError,
    add_sum,
    cached_run,
    check_sum,
    code_version,
    locked,
    only_cached,
    read_array,
    write_array,
)
from emodiff.base.core import atomic, disk_fault, error_message, runs_dir, write_json, write_text

MAKER = """
import os, sys, time
from emodiff.base.cache import cached_run
def make(folder):
    (folder / "part.txt").write_text("kept")
    (folder / "half.txt").write_text("not kept")
    print("making", flush=True)
    time.sleep(float(sys.argv[1]))
    (folder / "x.txt").write_text("some bytes")
print(cached_run("test", {"a": 1}, make, keep=["part.txt"]).fresh, flush=True)
"""


def make(folder: Path) -> None:
    write_text(folder / "x.txt", "some bytes")


def started(seconds: float) -> subprocess.Popen:
    "A process that makes the entry in so many seconds."
    return subprocess.Popen([sys.executable, "-c", MAKER, str(seconds)], stdout=subprocess.PIPE,
                            text=True)


def test_made_once(home: Path) -> None:
    calls = []
    first, again = (cached_run("test", {"a": 1}, lambda folder: calls.append(make(folder)))
                    for _ in range(2))
    assert first.fresh and not again.fresh and len(calls) == 1
    assert first.folder == again.folder and first.key == again.key
    other = cached_run("test", {"a": 2}, make)
    assert other.fresh and other.key != first.key


@pytest.mark.parametrize("damage", [
    lambda folder: (folder / "x.txt").write_text("other byte"),  # of the same size
    lambda folder: (folder / "x.txt").write_text("so"),
    lambda folder: (folder / "x.txt").unlink(),
    lambda folder: (folder / "run.json").write_text("{"),
    lambda folder: (folder / "run.json").write_text("[]"),
    lambda folder: (folder / "run.json").unlink()])
def test_damage_is_made_again(home: Path, damage) -> None:
    damage(cached_run("test", {"a": 1}, make).folder)
    with pytest.warns(UserWarning, match="damaged"):
        again = cached_run("test", {"a": 1}, make)
    assert again.fresh and (again.folder / "x.txt").read_text() == "some bytes"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not cached_run("test", {"a": 1}, make).fresh


def test_damage_where_only_the_cache_is_asked(home: Path) -> None:
    (cached_run("test", {"a": 1}, make).folder / "x.txt").write_text("other byte")
    with only_cached(), pytest.warns(UserWarning, match="damaged"), pytest.raises(NotCachedError):
        cached_run("test", {"a": 1}, make)
    with only_cached(), pytest.raises(NotCachedError):
        cached_run("test", {"a": 2}, make)


def test_killed_maker_leaves_its_part(home: Path) -> None:
    maker = started(60)
    assert maker.stdout is not None and maker.stdout.readline() == "making\n"
    maker.kill()
    maker.wait()
    assert len(list((runs_dir() / "test").glob("*.part/*"))) == 2

    def resume(folder: Path) -> None:
        assert [p.name for p in folder.iterdir()] == ["part.txt"]
        make(folder)

    run = cached_run("test", {"a": 1}, resume, keep=["part.txt"])
    assert run.fresh and not list((runs_dir() / "test").glob("*.part"))
    assert not cached_run("test", {"a": 1}, make).fresh


def test_a_failing_maker_makes_no_entry(home: Path) -> None:
    def fail(folder: Path) -> None:
        write_text(folder / "steps" / "1.txt", "kept")
        write_text(folder / "steps" / ".2-half.txt", "half of it")
        write_text(folder / "y.txt", "not kept")
        raise KeyboardInterrupt

    def go_on(folder: Path) -> None:
        assert [p.name for p in folder.rglob("*")] == ["steps", "1.txt"]
        make(folder)

    with pytest.raises(KeyboardInterrupt):
        cached_run("test", {"a": 1}, fail, drop=["steps"])
    run = cached_run("test", {"a": 1}, go_on, drop=["steps"])
    assert run.fresh and sorted(p.name for p in run.folder.iterdir()) == ["run.json", "x.txt"]


def test_an_entry_complete_but_not_renamed_is_taken_if_whole(home: Path) -> None:
    folder = cached_run("test", {"a": 1}, make).folder
    folder.rename(part := folder.with_suffix(".part"))
    assert cached_run("test", {"a": 1}, pytest.fail).folder == folder  # nothing is made
    folder.rename(part)
    (part / "x.txt").write_text("other byte")
    with pytest.warns(UserWarning, match="damaged"):
        run = cached_run("test", {"a": 1}, make)
    assert (run.folder / "x.txt").read_text() == "some bytes" and not part.exists()


def test_a_record_and_an_array_know_whether_they_are_whole(tmp_path: Path) -> None:
    path, record = tmp_path / "a.npy", {"n": 1, "x": [0.5, None], "ü": {"2": "b"}}
    assert check_sum(text := json.dumps(add_sum(record)).encode()) == record
    write_array(path, array := np.arange(6, dtype=np.float16).reshape(2, 3))
    assert np.array_equal(read_array(path), array) and np.array_equal(np.load(path), array)
    whole = path.read_bytes()
    for at in range(len(text)):
        assert check_sum(text[:at] + bytes([text[at] ^ 1]) + text[at + 1:]) is None, at
        assert check_sum(text[:at]) is None, at
    for at in range(len(whole)):
        for bad in (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:], whole[:at]):
            path.write_bytes(bad)
            with pytest.warns(UserWarning, match="damaged"):
                assert read_array(path) is None, at


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
import torch
from emodiff.base.core import atomic, error_message
from emodiff.generator.checkpoints import write_tensors
from emodiff.generator.vocoder import write_wav
noise = np.random.default_rng(0).uniform(-1, 1, 40_000).astype(np.float32)
def save(path):
    with atomic(path) as tmp, tmp.open("wb") as f:
        np.save(f, noise)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))  # no file may be larger
for name, write in {"a.npy": save, "a.flac": lambda path: write_wav(noise, path),
                    "a.safetensors": lambda path: write_tensors(
                        path, {"x": torch.from_numpy(noise)}, {})}.items():
    print(error_message(write, Path(sys.argv[1]) / name))
"""


def test_what_libraries_say_of_a_short_write_is_one_sentence(tmp_path: Path) -> None:
    "NumPy, soundfile and safetensors have words of their own for it, without the file's name."
    done = run_python("-c", FULL, tmp_path)
    assert done.returncode == 0, done.stderr
    for name, line in zip(("a.npy", "a.flac", "a.safetensors"), done.stdout.splitlines(),
                          strict=True):
        assert re.fullmatch(rf"cannot write {re.escape(str(tmp_path / name))}: (No space left on "
                            r"device|File too large); free space .* write to\.", line), line
    assert not list(tmp_path.iterdir())
    fake = OSError(errno.ENOSPC, "No space left on device")
    assert disk_fault(OSError("593920 requested and 419776 written")) == disk_fault(fake)


def test_a_disk_that_cannot_be_written_to_is_one_sentence(home: Path, monkeypatch) -> None:
    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert "No space left on device" in error_message(cached_run, "test", {"a": 1}, full)
    with pytest.raises(FileNotFoundError):  # a reader's own file is no matter of the disk
        cached_run("test", {"a": 1}, lambda folder: open("/no/such/file"))
    short = mock.Mock(side_effect=OSError("593920 requested and 419776 written"))  # of np.save
    assert "(No space left on device); free space" in error_message(
        cached_run, "test", {"a": 1}, short)
    run = cached_run("test", {"a": 1}, make)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert "has no locks" in error_message(cached_run, "test", {"a": 2}, make)
    assert cached_run("test", {"a": 1}, make).folder == run.folder  # reading needs none
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: open(home, "w"))
    monkeypatch.setattr("builtins.open", mock.Mock(side_effect=OSError(
        errno.EROFS, "Read-only file system")))
    assert "Read-only file system" in error_message(cached_run, "test", {"a": 2}, make)


def test_the_second_maker_says_that_it_waits(home: Path) -> None:
    maker = started(1.5)
    assert maker.stdout is not None and maker.stdout.readline() == "making\n"
    path = next((runs_dir() / "test").glob("*.lock"))
    with pytest.warns(UserWarning, match="another process makes it; waiting"), \
            locked(path, "it", patience=0.2):
        assert maker.wait(5) is not None


def test_two_makers_at_once_make_one_entry(home: Path) -> None:
    makers = [started(1) for _ in range(2)]
    said = [maker.communicate(timeout=60)[0].split() for maker in makers]
    assert sorted(said) == [["False"], ["making", "True"]]


def test_code_version_sees_code_and_no_comment(tmp_path: Path, monkeypatch) -> None:
    from emodiff.base import cache

    monkeypatch.setattr(cache, "package_dir", lambda: tmp_path)
    module = tmp_path / "m.py"
    body = '"doc"\ndef f(x):\n    "doc"\n    return x\ndef g(x):\n    return -x\n'

    def version(text: str, part: str) -> str:
        module.write_text(text)
        cache._syntax.cache_clear()
        return code_version(part)

    assert version(body, "m") == version(body.replace("doc", "other words") + "# more", "m")
    assert version(body, "m") != version(body.replace("-x", "x"), "m")
    assert version(body, "m:f") == version(body.replace("-x", "x"), "m:f")
    assert version(body, "m:g") != version(body.replace("-x", "x"), "m:g")
    assert version(body, "m:f") != version(body, "m:f,g")
    with pytest.raises(KeyError):
        version(body, "m:h")


def test_half_written_files_are_never_seen(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "x.json", {"b": 1})
    with pytest.raises(KeyboardInterrupt), atomic(tmp_path / "a" / "y.txt") as part:
        part.write_text("half of")
        raise KeyboardInterrupt
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["x.json"]
