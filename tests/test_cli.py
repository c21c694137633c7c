"""The command line: what a wrong argument says, and that a dry run does nothing."""
import configparser
import importlib
from pathlib import Path

import pytest
from typer.testing import CliRunner

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
    ["reproduce", "--dry-run", "--preset", "papr"],
    ["reproduce", "--dry-run", "--only", "01"],
    ["reproduce", "--dry-run", "--corpora-dir", "/nothing here"]])
def test_a_wrong_argument_is_one_sentence(home: Path, arguments: list[str]) -> None:
    with pytest.raises(EmodiffError) as error:
        said(*arguments)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


@pytest.mark.parametrize("arguments", [["reproduce", "--nothing"], ["prepare", "IEMOCAP"],
                                       ["prepare", "IEMOCAP", "--out", "x", "--jobs", "0"],
                                       ["train", "x", "--out", "y", "--seed", "many"]])
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
    text = said("augment", table, "--out", str(home / "synth"), "--dry-run", "--preset", "smoke",
                "--device", "cpu", "--held-out", "Ses01F")
    assert "would go" in text and "MB of disk" in text and not (home / "synth").exists()
    with pytest.raises(EmodiffError, match="LABEL=EMOTION"):
        said("augment", table, "--out", "x", "--map", "angry")


def test_every_command_has_examples(home: Path) -> None:
    for command in ("reproduce", "prepare", "train", "sample", "augment", "download", "doctor"):
        assert "Examples" in said(command, "--help")


def test_the_command_is_where_the_package_says() -> None:
    "The console script of settings.ini names a function that is there."
    ini = configparser.ConfigParser(delimiters=["="])
    ini.read(Path(__file__).resolve().parent.parent / "settings.ini", encoding="utf-8")
    name, target = ini["DEFAULT"]["console_scripts"].split("=")
    module, function = target.split(":")
    assert name == "emodiff" and callable(getattr(importlib.import_module(module), function))
