"""The run cache survives kills, damage and two makers at once."""
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from emodiff.base.cache import NotCachedError, cached_run, code_version, only_cached
from emodiff.base.core import atomic, runs_dir, write_json, write_text

MAKER = """
import os, sys, time
from emodiff.base.cache import cached_run
def make(folder):
    (folder / "part.txt").write_text("kept")
    print("making", flush=True)
    time.sleep(float(sys.argv[1]))
    (folder / "x.txt").write_text("some bytes")
print(cached_run("test", {"a": 1}, make).fresh, flush=True)
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
    assert [p.name for p in (runs_dir() / "test").glob("*.part/*")] == ["part.txt"]

    def resume(folder: Path) -> None:
        assert (folder / "part.txt").read_text() == "kept"
        make(folder)

    run = cached_run("test", {"a": 1}, resume)
    assert run.fresh and not list((runs_dir() / "test").glob("*.part"))
    assert not cached_run("test", {"a": 1}, make).fresh


def test_a_failing_maker_makes_no_entry(home: Path) -> None:
    def fail(folder: Path) -> None:
        write_text(folder / "step1.txt", "kept")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_run("test", {"a": 1}, fail)
    run = cached_run("test", {"a": 1}, make)
    assert run.fresh and sorted(p.name for p in run.folder.iterdir()) == [
        "run.json", "step1.txt", "x.txt"]


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
