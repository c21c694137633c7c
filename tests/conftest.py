"""Fixtures that the tests share: a temporary home, and the recorded speech beside the project."""
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from forked import start_server

ROOT = Path(__file__).resolve().parent.parent
# read when PyTorch is first imported
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("EMODIFF_PROGRESS", "text")
os.environ.setdefault("IN_TEST", "1")
start_server()  # before a test has changed anything


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    "A fresh project home, so that caches and stand-ins of other tests are not seen."
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("EMODIFF_HOME", str(folder))
    yield folder


@pytest.fixture(scope="session")
def shared() -> Path:
    "The folder with recorded speech, a vocoder and reference values; tests skip where it is not."
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("there is no folder ../shared with recorded speech")
    return folder
