"""The tests: notebooks clean, exported, well formed, lint-free, and run, each in its own process.

Ends with the line `N passed, N failed`, counting notebooks.
"""
import atexit
import importlib.util
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
NBS = sorted((ROOT / "nbs").glob("*.ipynb"))
LIMIT = 420  # seconds a notebook may take
# two notebooks at a time on one thread each are faster than one on two threads
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1",
       "EMODIFF_PROGRESS": "text"}
# imported once, in a process from which those of the notebooks fork: 4 s less for each
PRELOAD = ["torch", "torch._dynamo", "pandas", "scipy.signal", "scipy.stats", "matplotlib.pyplot",
           "nbdev.test"]


def run(*command: str, cwd: Path = ROOT) -> tuple[bool, str]:
    "Run a command; whether it succeeded, and what it printed."
    try:
        done = subprocess.run(command, cwd=cwd, env=ENV, capture_output=True, text=True,
                              timeout=LIMIT, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return False, f"took longer than {LIMIT} s"
    return done.returncode == 0, (done.stdout + done.stderr).strip()


def is_chapter(path: Path) -> bool:
    "A number alone is a chapter of results; a number with a letter is a part of the method."
    return path.stem.split("_")[0].isdigit() and path.stem != "00_core"


def check_form(path: Path) -> list[str]:
    "What is wrong with a notebook's form."
    cells = json.loads(path.read_text("utf-8"))["cells"]
    tags = [t for c in cells for t in c["metadata"].get("tags", [])]
    faults = []
    if is_chapter(path) and tags.count("parameters") != 1:
        faults.append("a chapter needs exactly one 'parameters' cell, this has "
                      f"{tags.count('parameters')}")
    if "injected-parameters" in tags:
        faults.append("papermill was run in place: it holds an injected-parameters cell")
    if is_chapter(path) and any("#| export" in "".join(c["source"]) for c in cells):
        faults.append("a chapter exports nothing")
    if not "".join(cells[0]["source"]).startswith("# "):
        faults.append("the first cell is not a title")
    return faults


def check_copy() -> dict[str, list[str]]:
    "Faults by notebook, from cleaning and exporting a copy of the project and comparing."
    faults: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as tmp:
        copy = Path(tmp) / "copy"
        skip = shutil.ignore_patterns(".venv", ".git", "data", "figures", "*.egg-info",
                                      "__pycache__", ".ipynb_checkpoints")
        shutil.copytree(ROOT, copy, ignore=skip)
        for command in ("nbdev_clean", "nbdev_export"):
            ok, text = run(str(BIN / command), cwd=copy)
            if not ok:
                return {"": [f"{command} failed:\n{text}"]}
        for path in NBS:
            if path.read_bytes() != (copy / "nbs" / path.name).read_bytes():
                faults.setdefault(path.stem, []).append("not clean: run nbdev_clean")
        for new in sorted((copy / "emodiff").glob("*.py")):
            old = ROOT / "emodiff" / new.name
            if not old.exists() or old.read_bytes() != new.read_bytes():
                owner = next((p.stem for p in NBS if p.stem.split("_", 1)[1] == new.stem), "")
                faults.setdefault(owner, []).append(
                    f"emodiff/{new.name} is not what nbdev_export writes")
    return faults


def check_lint() -> dict[str, list[str]]:
    "Faults by notebook that ruff finds; those of other files under ''."
    _, text = run(str(BIN / "ruff"), "check", "--output-format=json", ".")
    faults: dict[str, list[str]] = {}
    for row in json.loads(text or "[]"):
        stem = Path(row["filename"]).stem
        line = f"{Path(row['filename']).name}:{row['location']['row']}"
        owner = next((p.stem for p in NBS if stem in (p.stem, p.stem.split("_", 1)[1])), "")
        faults.setdefault(owner, []).append(f"{line} {row['code']} {row['message']}")
    return faults


def test_notebook(path: str, log: str) -> None:
    "What the process of a notebook does: nbdev_test, all that it prints into a file."
    os.setsid()  # so that a timeout can end its children too
    with open(log, "wb") as f:
        for stream in (1, 2):
            os.dup2(f.fileno(), stream)
    sys.stdin = open(os.devnull)
    from nbdev.test import nbdev_test

    failed = True
    try:
        nbdev_test(path=path, n_workers=0, do_print=True)
        failed = False
    except BaseException:
        traceback.print_exc()
    finally:  # end as an interpreter does: multiprocessing would wait for idle workers instead
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(failed))


def execute(path: Path) -> tuple[Path, bool, str, float]:
    "Run one notebook under nbdev_test, in its own process."
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as tmp:
        log = Path(tmp) / "log"
        log.touch()
        process = multiprocessing.get_context("forkserver").Process(
            target=test_notebook, args=(str(path), str(log)))
        process.start()
        process.join(LIMIT)
        late = process.is_alive()
        if late:
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
        text = log.read_text("utf-8", "replace").strip()
    text += f"\ntook longer than {LIMIT} s" if late else ""
    return path, process.exitcode == 0, text, time.monotonic() - start


def record_times(took: dict[str, float]) -> None:
    "What each notebook took, for the table of costs in 08_benchmarks."
    path = ROOT / "data" / "runs" / "test_seconds.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")
    half.write_text("notebook,seconds\n" + "".join(f"{n},{s:.1f}\n" for n, s in took.items()))
    half.replace(path)


def main() -> int:
    "Print what fails; the number of notebooks that pass and fail comes last."
    faults = {p.stem: check_form(p) for p in NBS} | {"": []}
    for found in (check_copy(), check_lint()):
        for stem, lines in found.items():
            faults.setdefault(stem, []).extend(lines)
    for name in ("torchvision", "torchaudio"):  # beside a CPU torch they break transformers
        if importlib.util.find_spec(name):
            faults[""].append(f"{name} is installed in this environment; remove it")
    if not any(p.stem == "05_cross_corpus" for p in NBS):
        faults[""].append("nbs/05_cross_corpus.ipynb is missing")
    os.environ.update(ENV)
    os.chdir(ROOT)
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOAD)
    took = {}
    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        for path, ok, text, seconds in pool.map(execute, NBS):
            if not ok:
                faults[path.stem].append("nbdev_test failed:\n" + text[-6000:])
            mark, took[path.stem] = "FAIL" if faults[path.stem] else "ok", seconds
            print(f"{mark:>4}  {path.name:<28} {seconds:6.1f} s", flush=True)
            skips = [line for line in text.splitlines() if line.startswith("skipped:")]
            print("".join(f"      {line}\n" for line in skips), end="")
    record_times(took)
    for stem, lines in faults.items():
        for line in lines:
            print(f"{stem or 'project'}: {line}")
    failed = sum(bool(faults[p.stem]) for p in NBS)
    print(f"{len(NBS) - failed} passed, {failed} failed")
    return int(any(faults.values()))


if __name__ == "__main__":
    sys.exit(main())
