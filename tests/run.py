"""The tests: notebooks clean, exported and lint-free; then every notebook and test file is run.

Each notebook and each `tests/test_*.py` runs in a process of its own, one per core and at most four
at a time. The last line is `N passed, N failed`: notebooks and single tests.

    python tests/run.py                      # everything: what CI runs
    python tests/run.py 02_generator plan    # only what has one of these words in its path
"""
import atexit
import functools
import importlib.util
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
NBS = sorted(p for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
FILES = sorted((ROOT / "tests").glob("test_*.py"))
LIMIT = 420  # seconds that a notebook or a test file may take
# a process per core with one thread each is faster than one with many threads; without compiled
# modules every process would compile all of PyTorch again
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1",
       "EMODIFF_PROGRESS": "text", "PYTHONDONTWRITEBYTECODE": ""}
PRELOAD = ["tests.preloaded"]  # imported once, in a process from which those of the tests fork
SOUND = ("08_vocoder", "test_vocoder", "test_front")  # what asks how Griffin-Lim sounds
# the chapters but 08, and the notebooks that ask nothing about the run cache itself
SHARING = (r"nbs/(0[3-79]_\w+|04_recognition/1[14]_\w+|06_studies/(0[013-9]|1\d)_\w+|"
           r"07_augment/\w+|09_pages/04_\w+)\.ipynb")


@dataclass
class Result:
    "What came of a notebook or a test file."
    passed: int
    failed: int
    text: str  # what it printed
    seconds: float
    cpu: float  # seconds of processors that it and its children took


def shown(path: Path) -> str:
    "A path below the project's root."
    return path.relative_to(ROOT).as_posix()


def run(*command: str, cwd: Path = ROOT) -> tuple[bool, str]:
    "Run a command; whether it succeeded, and what it printed."
    try:
        done = subprocess.run(command, cwd=cwd, env=ENV, capture_output=True, text=True,
                              timeout=LIMIT, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return False, f"took longer than {LIMIT} s"
    return done.returncode == 0, (done.stdout + done.stderr).strip()


def check_form(path: Path) -> list[str]:
    "What is wrong with a notebook's form; a notebook at the top of nbs is a chapter of results."
    cells = json.loads(path.read_text("utf-8"))["cells"]
    tags = [t for c in cells for t in c["metadata"].get("tags", [])]
    chapter, faults = path.parent == ROOT / "nbs", []
    if chapter and tags.count("parameters") != 1:
        faults.append("a chapter needs exactly one 'parameters' cell, this has "
                      f"{tags.count('parameters')}")
    if "injected-parameters" in tags:
        faults.append("papermill was run in place: it holds an injected-parameters cell")
    if chapter and any("#| export" in "".join(c["source"]) for c in cells):
        faults.append("a chapter exports nothing")
    if not re.match(r"# \S.*\n\n> \S", "".join(cells[0]["source"])):
        faults.append("the first cell must be a '# title' and a '> sentence'")
    return faults


def check_copy() -> dict[str, list[str]]:
    "Faults by path, from cleaning and exporting a copy of the project and comparing."
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
            if path.read_bytes() != (copy / shown(path)).read_bytes():
                faults.setdefault(shown(path), []).append("not clean: run nbdev_clean")
        here = {p.relative_to(ROOT) for p in (ROOT / "emodiff").rglob("*.py")}
        made = {p.relative_to(copy) for p in (copy / "emodiff").rglob("*.py")}
        for name in sorted(here | made):
            if not (ROOT / name).exists() or (ROOT / name).read_bytes() != (
                    copy / name).read_bytes():
                faults.setdefault("", []).append(f"{name} is not what nbdev_export writes")
    return faults


def check_lint() -> dict[str, list[str]]:
    "Faults by path that ruff finds."
    _, text = run(str(BIN / "ruff"), "check", "--output-format=json", ".")
    faults: dict[str, list[str]] = {}
    for row in json.loads(text or "[]"):
        path = Path(row["filename"])
        place = f"cell {row['cell']}, " if row.get("cell") else ""
        faults.setdefault(shown(path), []).append(
            f"{place}line {row['location']['row']}: {row['code']} {row['message']}")
    return faults


def run_notebook(path: str) -> None:
    "Run a notebook's cells; each picture is drawn once, at the size of its file."
    import nbdev.test
    from execnb.shell import CaptureShell
    from matplotlib.backend_bases import FigureCanvasBase

    nbdev.test.CaptureShell = functools.partial(CaptureShell, mpl_format="png")
    FigureCanvasBase.draw_idle = lambda *_: None  # it is drawn again when it is shown
    nbdev.test.nbdev_test(path=path, n_workers=0, do_print=True)


def speak_sooner() -> None:
    "Griffin-Lim in 6 rounds instead of 60: with all, it is most of the time of what writes speech."
    from emodiff.generator import vocoder

    vocoder._GriffinLim.__init__.__defaults__ = ("cpu", 6)


def share_runs() -> None:
    "One run cache, empty when the tests begin: what one notebook has made, the next one draws."
    from emodiff.base import core

    folder = Path(os.environ["EMODIFF_TEST_RUNS"])
    core.data_dir = lambda: folder


def run_job(path: str, log: str) -> None:
    "What the process of a notebook or a test file does; all that it prints goes into a file."
    os.setsid()  # so that a timeout can end its children too
    with open(log, "wb") as f:
        for stream in (1, 2):
            os.dup2(f.fileno(), stream)
    sys.stdin = open(os.devnull)
    failed = True
    try:
        if Path(path).stem not in SOUND:
            speak_sooner()
        if re.search(SHARING, path):
            share_runs()
        if path.endswith(".ipynb"):
            run_notebook(path)
            failed = False
        else:
            os.environ["IN_TEST"] = "1"
            import pytest

            failed = bool(pytest.main(["-q", "-rs", "--tb=short", "-p", "no:cacheprovider", path]))
    except BaseException:
        traceback.print_exc()
    finally:  # end as an interpreter does: multiprocessing would wait for idle workers instead
        threading._shutdown()
        atexit._run_exitfuncs()
        Path(log).with_suffix(".cpu").write_text(str(sum(os.times()[:4])))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(failed))


def execute(path: Path) -> tuple[Path, Result]:
    "Run one notebook or test file in its own process."
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as tmp:
        log = Path(tmp) / "log"
        log.touch()
        process = multiprocessing.get_context("forkserver").Process(
            target=run_job, args=(str(path), str(log)))
        process.start()
        process.join(LIMIT)
        late = process.is_alive()
        if late:
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
        text = log.read_text("utf-8", "replace").strip()
        used = log.with_suffix(".cpu")
        cpu = float(used.read_text()) if used.exists() else 0.0
    text += f"\ntook longer than {LIMIT} s" if late else ""
    bad = int(process.exitcode != 0)
    counts = {"passed": 1 - bad, "failed": bad}
    if path.suffix == ".py":
        found = {k: sum(map(int, re.findall(rf"(\d+) {k}", text.rsplit("\n", 1)[-1])))
                 for k in ("passed", "failed", "error")}
        counts = {"passed": found["passed"], "failed": max(bad, found["failed"] + found["error"])}
    return path, Result(**counts, text=text, seconds=time.monotonic() - start, cpu=cpu)


def skips(text: str) -> list[str]:
    "What was skipped, in a notebook's or in pytest's words."
    return [line for line in text.splitlines() if line.startswith(("skipped:", "SKIPPED"))]


def record_seconds(seconds: dict[str, float]) -> None:
    "What each took: the next run begins with the longest, and 08_benchmarks shows it."
    path = ROOT / "data" / "runs" / "test_seconds.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")
    half.write_text("notebook,seconds\n" + "".join(f"{n},{s:.1f}\n" for n, s in seconds.items()))
    half.replace(path)


def longest_first(paths: list[Path]) -> list[Path]:
    "What took longest the last time; the first time chapters, test files and two slow folders."
    path, known = ROOT / "data" / "runs" / "test_seconds.csv", {}
    if path.exists():
        lines = [line.rsplit(",", 1) for line in path.read_text().splitlines()[1:]]
        known = {name: float(seconds) for name, seconds in lines}
    slow = {"nbs": 60.0, "tests": 60.0, "06_studies": 30.0, "07_augment": 30.0}  # seconds, roughly
    guess = {p: slow.get(p.parent.name, 10.0) for p in paths}
    return sorted(paths, key=lambda p: -known.get(shown(p), guess[p]))


def main(words: list[str]) -> int:
    "Print what fails; how many pass and fail comes last."
    faults: dict[str, list[str]] = {"": []}
    for path in NBS:
        faults[shown(path)] = check_form(path)
    for name in ("torchvision", "torchaudio"):  # beside a CPU torch they break transformers
        if importlib.util.find_spec(name):
            faults[""].append(f"{name} is installed in this environment; remove it")
    if ROOT / "nbs" / "05_cross_corpus.ipynb" not in NBS:
        faults[""].append("nbs/05_cross_corpus.ipynb is missing")
    standins = tempfile.TemporaryDirectory(prefix="emodiff-standins-")  # spoken once for all
    runs = tempfile.TemporaryDirectory(prefix="emodiff-runs-")
    os.environ.update(ENV, EMODIFF_STANDINS=standins.name, EMODIFF_TEST_RUNS=runs.name)
    os.chdir(ROOT)
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOAD)
    jobs = [p for p in NBS + FILES if not words or any(w in shown(p) for w in words)]
    passed, failed, seconds, cpu = 0, 0, {}, {}
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        checks = [pool.submit(check) for check in (check_copy, check_lint)]
        results = pool.map(execute, longest_first(jobs))
        for check in checks:
            for name, lines in check.result().items():
                faults.setdefault(name, []).extend(lines)
        for path, result in results:
            name = shown(path)
            seconds[name], cpu[name] = result.seconds, result.cpu
            passed, failed = passed + result.passed, failed + result.failed
            if result.failed:
                faults.setdefault(name, []).append("failed:\n" + result.text[-6000:])
            elif faults.get(name):
                passed, failed = passed - result.passed, failed + result.passed
            mark = "FAIL" if faults.get(name) else "ok"
            print(f"{mark:>4}  {name:<46} {result.seconds:6.1f} s", flush=True)
            print("".join(f"      {line}\n" for line in skips(result.text)), end="")
    if not words:
        record_seconds(seconds)
    for name, lines in faults.items():
        for line in lines:
            print(f"{name or 'project'}: {line}")
    most = sorted(cpu, key=lambda name: -cpu[name])[:15]
    print(f"{sum(cpu.values()):.0f} s of processor time; most for "
          + ", ".join(f"{Path(name).stem} {cpu[name]:.0f}" for name in most))
    failed += sum(bool(lines) for name, lines in faults.items() if name not in seconds)
    print(f"{passed} passed, {failed} failed")
    return int(any(faults.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
