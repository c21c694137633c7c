"""The command line: what a wrong argument says, and that a dry run does nothing."""
import configparser
import importlib
import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import pytest
from conftest import ROOT
from typer.testing import CliRunner

from emodiff.app import cli
from emodiff.app.cli import app
from emodiff.base.core import EmodiffError
from emodiff.base.settings import load_preset


def said(*arguments: str) -> str:
    "What a command prints; its EmodiffError is raised."
    done = CliRunner().invoke(app, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout if done.exit_code == 0 else f"status {done.exit_code}"


@pytest.mark.parametrize("arguments", [
    ["prepare", "IEMOKAP", "--out", "x"],
    ["prepare", "EmoDB", "--out", "x", "--dry-run"],
    ["train", "nowhere", "--out", "x"],
    ["train", "nowhere", "--out", "x", "--set", "training.batch=0"],
    ["sample", "demo", "nowhere.csv", "--out", "x"],
    ["download", "IEMOCAP", "--dry-run"],
    ["augment", "nowhere.csv", "--out", "x", "--preset", "smoke"],
    ["reproduce", "--dry-run", "--shares", "half"],
    ["reproduce", "--dry-run", "--fractions", "2"],
    ["reproduce", "--dry-run", "--source", "FOO"],
    ["reproduce", "--dry-run", "--target", "IEMOCAP"],
    ["reproduce", "--dry-run", "--adapt", "FOO"],
    ["reproduce", "--dry-run", "--arms", "foo"],
    ["reproduce", "--dry-run", "--gans", "foo"],
    ["reproduce", "--dry-run", "--seeds", "-1"],
    ["reproduce", "--dry-run", "--vocoder", "no/such-vocoder"],
    ["reproduce", "--dry-run", "--out-dir", "FILE/x"],
    ["prepare", "IEMOCAP", "--out", "FILE/x", "--dry-run", "--preset", "smoke"],
    ["train", "nowhere", "--out", "FILE/x", "--dry-run"],
    ["sample", "demo", "PLAN", "--out", "x", "--dry-run", "--steps", "4001"],
    ["sample", "demo", "PLAN", "--out", "x", "--dry-run", "--vocoder", "no/such-vocoder"],
    ["sample", "demo", "PLAN", "--out", "FILE/x", "--dry-run"],
    ["say", "...", "--dry-run"],
    ["say", "Hello.", "--emotion", "furious", "--dry-run"],
    ["say", "Hello.", "--speaker", "nobody", "--dry-run"],
    ["say", "Hello.", "--generator", "no/such-generator", "--dry-run"],
    ["say", "Hello.", "-o", "a.mp3", "--dry-run"],
    ["say", "Hello.", "--steps", "4001", "--dry-run"],
    ["info", "no/such-generator"],
    ["augment", "nowhere.csv", "--out", "FILE/x", "--dry-run"],
    ["augment", "nowhere.csv", "--out", "x", "--vocoder", "no/such-vocoder", "--dry-run"],
    ["download", "RAVDESS", "--to", "FILE", "--dry-run"],
    ["notebooks", "FILE"],
    ["prepare", "IEMOCAP", "--out", "x" * 300, "--dry-run", "--preset", "smoke"],
    ["prepare", "IEMOCAP", "--out", "\udcff", "--dry-run", "--preset", "smoke"],
    ["prepare", "IEMOCAP", "--out", "OWNS", "--dry-run", "--preset", "smoke"],
    ["train", "nowhere", "--out", "OWNS"],
    ["sample", "demo", "PLAN", "--out", "OWNS", "--dry-run"],
    ["say", "Hello.", "-o", "OWNS/folder.wav", "--dry-run"],
    ["judge", "PLAN", "--real", "PLAN", "-o", "OWNS/row.html", "--dry-run"],
    ["audit", "PLAN", "-o", "OWNS/../plan.csv", "--dry-run"],
    ["audit", "OWNS", "-o", "OWNS/db.test.csv", "--dry-run"],
    ["audit", "PLAN", "-o", "OWNS/table.csv", "--dry-run"],
    ["reproduce", "--dry-run", "--only", "01"],
    ["reproduce", "--dry-run", "--corpora-dir", "/nothing here"]])
def test_a_wrong_argument_is_one_sentence(home: Path, arguments: list[str]) -> None:
    (home / "file").write_text("")
    (home / "plan.csv").write_text("text,emotion,speaker\nHello.,sad,Ses01F\n")
    (home / "own" / "folder.wav").mkdir(parents=True)
    for name in ("table.csv", "README.md", "row.json"):
        (home / "own" / name).write_text("mine")
    places = {"FILE": str(home / "file"), "PLAN": str(home / "plan.csv"), "OWNS": str(home / "own")}
    arguments = [places.get(a.partition("/")[0], "") + a[4:] if a[:4] in places else a
                 for a in arguments]
    with pytest.raises(EmodiffError) as error:
        said(*arguments)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


@pytest.mark.parametrize("arguments", [["reproduce", "--nothing"], ["prepare", "IEMOCAP"],
                                       ["prepare", "IEMOCAP", "--out", "x", "--jobs", "0"],
                                       ["train", "x", "--out", "y", "--seed", "many"],
                                       ["reproduce", "--dry-run", "--preset", "papr"],
                                       ["sample", "demo", "x", "--out", "y", "--sampler", "heun"],
                                       ["doctor", "--preset", "papr"],
                                       ["say", "Hello.", "--device", "gpu"]])
def test_unreadable_arguments_have_status_2(home: Path, arguments: list[str]) -> None:
    assert said(*arguments) == "status 2"


def test_a_dry_run_of_reproduce_says_what_it_was_given(home: Path) -> None:
    text = said("reproduce", "--dry-run", "--arms", "all", "--shares", "0.5,2", "--fractions",
                "0.1,0.5", "--gans", "all", "--preset", "smoke")
    assert "shares = [0.5, 2.0]" in text and "fractions = [0.1, 0.5]" in text
    assert "gans = ['cGAN', 'CycleGAN', 'GAN + mixup']" in text and "figures/smoke" in text


def test_a_dry_run_of_augment_makes_nothing(home: Path) -> None:
    from emodiff.augment.source import standin_csv

    table = str(standin_csv(home, load_preset("smoke").standin))
    asked = ["augment", table, "--out", str(home / "synth"), "--dry-run", "--preset", "smoke",
             "--device", "cpu", "--held-out", "Ses01F", "--ways", "synthetic", "--json"]
    done = CliRunner().invoke(app, asked)
    # the cost on stdout, and nothing else
    assert {"stage", "seconds", "MB"} <= set(json.loads(done.stdout)[0])
    assert "would go" in done.stderr and "MB of disk" in done.stderr
    assert not (home / "synth").exists()
    with pytest.raises(EmodiffError, match="LABEL=EMOTION"):
        said("augment", table, "--out", "x", "--map", "angry")


@pytest.mark.filterwarnings("ignore:no vocoder named")
def test_one_line_is_said(home: Path) -> None:
    line = ["say", "Hello.", "--emotion", "sad", "--speaker", "Ses01F", "--steps", "2",
            "--guidance", "2", "--device", "cpu", "-o", str(home / "a.wav")]
    assert "2 steps (dpm)" in said(*line, "--dry-run") and not (home / "a.wav").exists()
    assert said(*line).split() == [str(home / "a.wav")]
    assert wave.open(str(home / "a.wav")).getframerate() == 22050


def test_what_a_generator_knows(home: Path) -> None:
    text = said("info", "demo")
    assert "angry, happy, neutral, sad" in text and "Ses01F" in text and "eSpeak" in text
    facts = json.loads(said("info", "demo", "--json"))
    assert facts["training"]["steps"] == 1200 and len(facts["speakers"]) == 4


def test_the_version(home: Path) -> None:
    ini = configparser.ConfigParser(delimiters=["="])
    ini.read(ROOT / "settings.ini", encoding="utf-8")
    assert said("--version") == f"emodiff {ini['DEFAULT']['version']}\n"


def test_choices_are_completed(home: Path) -> None:
    "A shell that asks is told commands and values."
    for words, offered in (("emodiff do", "doctor"), ("emodiff reproduce --preset pa", "paper"),
                           ("emodiff sample a b --sampler d", "dpm"),
                           ("emodiff reproduce --source EmoD", "EmoDB")):
        env = {**os.environ, "_EMODIFF_COMPLETE": "complete_bash", "COMP_WORDS": words,
               "COMP_CWORD": str(len(words.split()) - 1)}
        code = "from emodiff.app.cli import app; app(prog_name='emodiff')"
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert offered in done.stdout.split(), done.stderr


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    "Size and time of each file and folder."
    found = {p: p.stat() for p in [folder, *folder.rglob("*")]}
    return {str(p): (s.st_size, s.st_mtime_ns) for p, s in found.items()}


def test_doctor_changes_nothing(home: Path, tmp_path: Path) -> None:
    corpora = tmp_path / "corpora"
    (corpora / "EmoDB").mkdir(parents=True)
    before = everything(tmp_path)
    done = CliRunner().invoke(app, ["doctor", "--json", "--corpora-dir", str(corpora)])
    assert everything(tmp_path) == before
    parts = {row["part"]: row for row in json.loads(done.stdout)}
    assert {"torch", "disk", "vocoder", "EmoDB"} <= set(parts) and parts["EmoDB"]["fault"]
    assert isinstance(done.exception, EmodiffError)  # a folder of EmoDB without clips is a fault


def test_notebooks_are_copied_once(home: Path) -> None:
    assert "notebooks in" in said("notebooks", str(home / "nbs"))
    assert (home / "nbs" / "05_cross_corpus.ipynb").exists()
    assert len(list((home / "nbs").rglob("*.ipynb"))) == len(list((ROOT / "nbs").glob("**/[!.]*b")))
    with pytest.raises(EmodiffError, match="not empty"):
        said("notebooks", str(home / "nbs"))


def test_every_corpus_is_offered() -> None:
    from emodiff.speech.corpora import CORPORA

    assert cli._CORPORA == list(CORPORA)


def test_every_command_has_examples(home: Path) -> None:
    for command in ("reproduce", "recheck", "pool", "notebooks", "prepare", "train", "sample",
                    "say", "info", "augment", "download", "doctor"):
        assert "Examples" in said(command, "--help")


def test_the_command_is_where_the_package_says() -> None:
    "The console script of settings.ini names a function that is there."
    ini = configparser.ConfigParser(delimiters=["="])
    ini.read(ROOT / "settings.ini", encoding="utf-8")
    name, target = ini["DEFAULT"]["console_scripts"].split("=")
    module, function = target.split(":")
    assert name == "emodiff" and callable(getattr(importlib.import_module(module), function))
