"""Damage and kills in numbers: is anything lost, silently wrong, or left behind?

    python tests/torture.py flips [1000] [--seed 0]   # a damaged file, then the same call again
    python tests/torture.py kills [200] [--seed 0]    # SIGKILL at any moment, then the same command

`flips`: a small home is made with every kind of file that lies below data/, finished and half-done.
In each try one file of it is damaged: a bit, a byte, a block of zeros, or its end is missing. The
call that made it is then repeated. Its result must be that of an undamaged home; a sentence that
tells what to do may stand in the way once, never twice.

`kills`: each command runs at the sizes of the preset smoke and is killed again and again. Ten
seconds after a kill no process of it may live. Run to its end, it must leave the bytes of a run
that nobody killed, and no temporary file. The last line is `N passed, N failed`, in tries.
"""
import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

# ---------------------------------------------------------------- flips

FEW = dict(training=dict(steps=4, batch=4, checkpoint_every=1, validate=0.0),
           sampling=dict(steps=2, batch=2), standin=dict(speakers=2, lines=1))
STATES = ("early", "made", "sealed", "finished")  # where the call that is repeated was stopped


def stop_after(work: Callable, calls: int) -> Callable:
    "The same function, which raises KeyboardInterrupt once it was called so often."
    left = [calls]

    def counted(*args: Any, **kwargs: Any) -> Any:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return work(*args, **kwargs)

    return counted


def hashes(folder: Path) -> dict[str, str]:
    "What a folder holds: run.json tells the time, and checkpoints are no longer needed."
    from emodiff.base.core import digest

    return {p.relative_to(folder).as_posix(): digest(p)
            for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "run.json"
            and p.parent.name != "checkpoints"}


class Work:
    "The calls whose files are damaged; what each returns says what it made."

    def __init__(self, clips: Path) -> None:
        from made_up_plan import MadeUpPlan
        from stripes import stripes
        from voice import write_clips

        from emodiff.base.settings import load_preset
        from emodiff.generator.sampling import load_generator
        from emodiff.recognition.cells import within_cells

        self.settings, self.stripes = load_preset("smoke", **FEW), stripes(8)
        self.clips = write_clips(clips, 18)
        self.plan = MadeUpPlan()
        self.cells = within_cells(self.plan.folds, self.plan.sizes, self.plan.settings.protocol)[:3]
        self.generator = load_generator(ROOT / "data" / "pretrained" / "demo")

    def prepare(self) -> Any:
        "Clips to segments."
        from emodiff.speech.segments import prepare

        made = prepare(self.clips, self.settings.features, 1)
        return made.mels.tobytes(), made.table.to_csv()

    def train(self) -> Any:
        "A generator through the run cache."
        from emodiff.generator.training import cached_generator

        return hashes(cached_generator(self.stripes, self.settings).folder)

    def train_folder(self) -> Any:
        "A generator in a folder of its own, as `emodiff train` makes it."
        from emodiff.base.core import data_dir
        from emodiff.generator.training import train_generator

        return hashes(train_generator(self.stripes, self.settings, data_dir() / "mine"))

    def sample(self) -> Any:
        "Samples, their finished chunks kept in a folder."
        from emodiff.base.core import data_dir
        from emodiff.generator.sampling import synthesise

        table = self.stripes.table[["speaker", "gender", "emotion", "text", "corpus"]][:4]
        made = synthesise(self.generator, table, self.settings.sampling,
                          folder=data_dir() / "parts", unknown=True)
        return made.mels.tobytes(), made.table.to_csv()

    def synthesis(self) -> Any:
        "A generator and its samples through the run cache."
        from emodiff.recognition.pools import cached_synthesis

        made = cached_synthesis(self.stripes, 4, self.settings).segments
        return made.mels.tobytes(), made.table.to_csv()

    def copy(self) -> Any:
        "Copy-synthesis."
        from emodiff.generator.vocoder import copy_synthesis

        return copy_synthesis(self.stripes.take(range(3)), "", self.settings).mels.tobytes()

    def cells_of_a_plan(self) -> Any:
        "Recognisers."
        from emodiff.recognition.plan import run_plan

        return run_plan(self.cells, self.plan.pools, self.plan.settings).drop(
            columns="seconds").to_csv()

    def loud(self) -> Any:
        "Clips to segments of one loudness, by a corpus's loudest moment."
        from emodiff.base.settings import replace
        from emodiff.speech.segments import prepare

        features = replace(self.settings.features, loudness="corpus")
        return prepare(self.clips[:8], features, 1).mels.tobytes()

    def waves(self) -> Any:
        "The sound of samples, as `augment` delivers it."
        from emodiff.augment.delivery import _synthesise_speech
        from emodiff.base.core import data_dir

        _synthesise_speech(self.stripes.take(range(2)), data_dir() / "audio", "",
                           self.settings.features)
        return hashes(data_dir() / "audio")

    def further_judges(self) -> Any:
        "What the linear recogniser says of a fold, as the comparison of ways keeps it."
        from emodiff.augment.nested import _judge_fold
        from emodiff.base.core import home
        from emodiff.recognition.pools import store_pool

        pools = {name: store_pool(pool) for name, pool in self.plan.pools.items()}
        fold = [c for c in self.cells if c.fold == self.cells[0].fold]
        run = _judge_fold(fold, pools, self.plan.settings, "cpu", "", str(home()))
        return (run.folder / "predictions.csv").read_bytes()

    def standins(self) -> Any:
        "A stand-in corpus."
        from emodiff.speech.standins import load_corpus

        table = load_corpus("CREMA-D", None, self.settings.standin)
        return hashes(Path(table["path"][0]).parents[1]), table.drop(columns="path").to_csv()


EARLY = {  # where a call is stopped in its midst: (what is counted, how often it may happen)
    "prepare": ("emodiff.speech.segments._prepare_clips", 3),
    "train": ("emodiff.generator.training.write_tensors", 2),
    "train_folder": ("emodiff.generator.training.write_tensors", 3),
    "sample": ("emodiff.generator.sampling.write_array", 1),
    "synthesis": ("emodiff.generator.sampling.write_array", 1),
    "copy": ("emodiff.generator.vocoder.write_array", 2),
    "cells_of_a_plan": ("emodiff.recognition.plan.run_cell", 1)}


def replaced(name: str, make: Callable[[Any], Any]) -> Any:
    "A patch that puts something made from it in the place of a module's function."
    module, _, attribute = name.rpartition(".")
    __import__(module)
    return mock.patch(name, make(getattr(sys.modules[module], attribute)))


def stopped_at(call: str, state: str) -> Any:
    "What stops a call at a state; None where it has no such state."
    if state == "early":
        where = EARLY.get(call)
        return where and replaced(where[0], lambda work: stop_after(work, where[1]))
    if state == "made":
        return replaced("emodiff.base.cache._seal", lambda work: stop_after(work, 0))
    if state == "sealed":
        def seal_and_stop(work: Callable) -> Callable:
            def sealed(*args: Any) -> None:
                work(*args)
                raise KeyboardInterrupt
            return sealed
        return replaced("emodiff.base.cache._seal", seal_and_stop)
    return contextlib.nullcontext()


@dataclass
class Target:
    "A kind of file that is damaged."
    call: str
    state: str
    home: Path  # a home in that state
    names: list[str]  # its files of this kind


def make_homes(work: Work, root: Path, calls: list[str]) -> tuple[dict[str, Any], list[Target]]:
    "What each call returns; a home for each call and state, and its kinds of files."
    wanted, targets = {}, []
    for call in calls:
        for state in reversed(STATES):
            patch = stopped_at(call, state)
            if patch is None or state in ("made", "sealed") and call in (
                    "standins", "sample", "train_folder", "waves"):
                continue
            home = root / call / state
            home.mkdir(parents=True)
            os.environ["EMODIFF_HOME"] = str(home)
            with contextlib.suppress(KeyboardInterrupt), patch, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = getattr(work, call)()
                wanted.setdefault(call, result)
            kinds: dict[str, list[str]] = {}
            for path in sorted(p for p in home.rglob("*") if p.is_file()):
                if path.suffix == ".lock" or path.name == "README.md":  # a text for people
                    continue
                name = path.relative_to(home).as_posix()
                shown = re.sub(r"[0-9a-f]{12,}", "KEY", re.sub(r"AudioWAV/.*", "clip.wav", name))
                kinds.setdefault(re.sub(r"\d{3,}", "N", shown), []).append(name)
            targets += [Target(call, state, home, names) for names in kinds.values()]
    return wanted, targets


def damage(path: Path, rng: random.Random) -> str:
    "Change a file; returns how."
    raw = bytearray(path.read_bytes())
    how = rng.choice(["bit", "bit", "byte", "zeros", "cut"]) if raw else "byte"
    at = rng.randrange(len(raw)) if raw else 0
    if how == "bit":
        raw[at] ^= 1 << rng.randrange(8)
    elif how == "byte":
        raw[at:at + 1] = bytes([rng.randrange(256)])
    elif how == "zeros":
        raw[at:at + 64] = bytes(len(raw[at:at + 64]))
    else:
        del raw[at:]
    path.write_bytes(raw)
    return f"{how} at {at}"


def attempt(work: Work, call: str, wanted: Any) -> tuple[str, str]:
    "How a call went: 'same', 'wrong', 'told' (a sentence) or 'crash'; and its words."
    from emodiff.base.core import EmodiffError

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            got = getattr(work, call)()
        except EmodiffError as e:
            return "told", str(e)
        except Exception as e:
            return "crash", f"{type(e).__name__}: {e}"
    words = "; ".join(str(w.message) for w in said if "damaged" in str(w.message))
    return ("same" if got == wanted else "wrong"), words


def leftovers(home: Path) -> list[str]:
    "Files and folders of a home that only a run in progress may have."
    return [p.relative_to(home).as_posix() for p in home.rglob("*")
            if p.name.endswith(".part") or p.name.startswith(".") and p.suffix != ".lock"
            and p.name != ".lock"]


class Bench:
    "Homes with every kind of file, and what an undamaged one gives."

    def __init__(self, folder: Path, calls: list[str]) -> None:
        os.environ["EMODIFF_HOME"] = str(folder / "first")
        self.folder, self.work = folder, Work(folder / "clips")
        self.wanted, self.targets = make_homes(self.work, folder / "homes", calls)

    def damage_one(self, target: Target, rng: random.Random) -> tuple[str, str]:
        "Damage a file, and repeat the call that made it: how that ended, and its words."
        home, wanted = self.folder / "home", self.wanted[target.call]
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(target.home, home)
        os.environ["EMODIFF_HOME"] = str(home)
        name = rng.choice(target.names)
        how = damage(home / name, rng)
        first = second = attempt(self.work, target.call, wanted)
        if first[0] in ("told", "crash"):
            second = attempt(self.work, target.call, wanted)
        outcome = ("wrong" if "wrong" in (first[0], second[0]) else
                   "repeated" if second[0] != "same" else
                   "crash" if first[0] == "crash" else
                   "left behind" if leftovers(home) else
                   "told, then the same" if first[0] == "told" or first[1] else "the same")
        return outcome, (f"{outcome}: {target.call}, {target.state}, {name}, {how}: {first[1]}, "
                         f"{second[1]}, {leftovers(home)}")

    def damage_many(self, targets: list[Target], count: int, seed: int = 0,
                    log: Callable[[str], Any] = print) -> Counter:
        "So many tries, over all kinds of files in turn; how many ended how."
        rng, found, targets = random.Random(seed), Counter(), list(targets)
        rng.shuffle(targets)
        for i in range(count):
            outcome, words = self.damage_one(targets[i % len(targets)], rng)
            found[outcome] += 1
            if not outcome.endswith("same"):
                log(words)
            if i % 50 == 49:
                log(f"{i + 1}: {dict(found)}")
        return found


@contextlib.contextmanager
def bench(calls: list[str]) -> Iterator[Bench]:
    "A bench in a temporary folder: four clips are a task, each copied segment is kept by itself."
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ), \
            mock.patch("emodiff.speech.segments._CLIPS", 4), \
            mock.patch("emodiff.generator.vocoder._COPY_CHUNK", 1):
        yield Bench(Path(folder), calls)


def flips(count: int, seed: int, log: Callable[[str], Any]) -> Counter:
    "Damage and repeat; how many tries ended how."
    with bench([n for n, f in vars(Work).items() if callable(f) and n[0] != "_"]) as made:
        log(f"{len(made.targets)} kinds of files")
        return made.damage_many(made.targets, count, seed, log)


# ---------------------------------------------------------------- kills

PLAN = """
import sys; sys.path.insert(0, sys.argv[1])
from made_up_plan import MadeUpPlan
from emodiff.base.settings import replace
from emodiff.recognition.cells import within_cells
from emodiff.recognition.plan import run_plan
plan = MadeUpPlan()
two = replace(plan.settings, protocol=replace(plan.settings.protocol, jobs=2))
cells = within_cells(plan.folds, plan.sizes, plan.settings.protocol)[:8]
run_plan(cells, plan.pools, two).drop(columns="seconds").to_csv(sys.argv[2])
"""
COPY = """
import sys; sys.path.insert(0, sys.argv[1])
from emodiff.base.settings import load_preset
from emodiff.generator import vocoder
from emodiff.speech.segments import save_segments
from stripes import stripes
vocoder._COPY_CHUNK = 1
save_segments(vocoder.copy_synthesis(stripes(12), "", load_preset("smoke")), sys.argv[2])
"""
EMODIFF = [sys.executable, "-m", "emodiff"]


def commands(shared: Path) -> dict[str, list[str]]:
    "The commands that are killed; OUT stands for the folder of what they make."
    tests, cpu = str(ROOT / "tests"), ["--device", "cpu"]
    return {
        "prepare": [*EMODIFF, "prepare", "CREMA-D", "--preset", "smoke", "--out", "OUT"],
        "train": [*EMODIFF, "train", f"{shared}/segments", "--preset", "smoke", "--set",
                  "training.steps=30", "--set", "training.checkpoint_every=2", *cpu, "--out",
                  "OUT"],
        "sample": [*EMODIFF, "sample", f"{shared}/generator", f"{shared}/plan.csv", "--steps",
                   "20", "--batch", "1", *cpu, "--out", "OUT"],
        "copy-synthesis": [sys.executable, "-c", COPY, tests, "OUT"],
        "plan": [sys.executable, "-c", PLAN, tests, "OUT/predictions.csv"],
        "augment": [*EMODIFF, "augment", f"{shared}/standin.csv", "--per-emotion", "2", "--ways",
                    "synthetic", "--preset", "smoke", *cpu, "--out", "OUT"],
        "reproduce": [*EMODIFF, "reproduce", "--preset", "smoke", "--only", "03", *cpu]}


def start(command: list[str], home: Path) -> subprocess.Popen:
    "A command in a home of its own."
    (home / "out").mkdir(parents=True, exist_ok=True)
    (home / "tmp").mkdir(exist_ok=True)
    env = {**os.environ, "EMODIFF_HOME": str(home), "TMPDIR": str(home / "tmp")}
    env.pop("IN_TEST", None)
    words = [w.replace("OUT", str(home / "out" / "made")) if w.startswith("OUT") else w
             for w in command]
    if "made/" in words[-1]:
        (home / "out" / "made").mkdir(exist_ok=True)
    with (home / "log").open("ab") as log:
        return subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                cwd=ROOT, start_new_session=True)


def alive(home: Path) -> dict[int, str]:
    "The processes whose home is this one, by their commands."
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"EMODIFF_HOME={home}\0".encode() in (folder / "environ").read_bytes() + b"\0":
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if words:
                    found[int(folder.name)] = words[:120]
    return found


def wait_for_none(home: Path, seconds: float = 10.0) -> dict[int, str]:
    "The processes of a home that are still there after so long."
    end = time.monotonic() + seconds
    while (found := alive(home)) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def results(home: Path) -> dict[str, str]:
    "What a command made, but for durations: files by their hashes."
    import pandas as pd

    from emodiff.base.core import digest

    found = {}
    for top in ("out", "figures", "data"):
        for path in sorted((home / top).rglob("*")):
            name = path.relative_to(home).as_posix()
            if not path.is_file() or path.suffix == ".lock" or path.name in ("run.json", ".lock"):
                continue
            if "/notebooks/" in name or path.name in ("report.html", "results.json"):
                continue  # these tell the time
            found[name] = digest(path)
            if path.suffix == ".csv" and top == "figures":
                table = pd.read_csv(path)
                timed = [c for c in table if re.search(r"second|minute|time", c)]
                found[name] = digest(table.drop(columns=timed).to_csv(index=False).encode())
            elif path.suffix == ".md" and top == "figures":
                text = path.read_text("utf-8")
                found[name] = "" if re.search(r"\| *(seconds|minutes) *\|", text) else found[name]
    return found


def make_shared(folder: Path) -> None:
    "What the commands work on."
    from stripes import stripes

    from emodiff.augment.source import standin_csv
    from emodiff.base.settings import load_preset
    from emodiff.generator.training import train_generator
    from emodiff.speech.segments import save_segments

    os.environ["EMODIFF_HOME"] = str(folder)
    settings = load_preset("smoke")
    save_segments(stripes(12), folder / "segments")
    train_generator(stripes(12), settings, folder / "generator")
    stripes(12).table[["text", "emotion", "speaker", "corpus", "gender"]].to_csv(
        folder / "plan.csv", index=False)
    standin_csv(folder, settings.standin)


def kill_often(name: str, command: list[str], kills: int, root: Path, rng: random.Random,
               log: Callable[[str], Any]) -> tuple[int, list[str]]:
    "How often a command was killed, and what was wrong then."
    home, faults, done, begun = root / name, [], 0, time.monotonic()
    if start(command, home).wait():
        return 0, [f"{name} fails: {(home / 'log').read_text()[-500:]}"]
    wanted, took = results(home), time.monotonic() - begun
    if late := wait_for_none(home):
        faults.append(f"{name}, not killed: still there: {late}")
    shutil.rmtree(home)  # the same path again: some tables name the paths of clips
    log(f"{name}: {took:.0f} s, {len(wanted)} files")
    while done < kills:
        process, ended, begun = start(command, home), False, time.monotonic()
        try:
            process.wait(rng.uniform(0.1, took))
            ended, took = True, min(took, time.monotonic() - begun)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            done += 1
        if late := wait_for_none(home):
            faults.append(f"{name}, kill {done}: still there after 10 s: {late}")
            for pid in late:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        if ended or done == kills:
            code = process.returncode if ended else start(command, home).wait()
            faults += check_end(name, code, home, wanted)
            shutil.rmtree(home)
    return done, faults


def check_end(name: str, code: int, home: Path, wanted: dict[str, str]) -> list[str]:
    "What is wrong with a home whose command ran to its end."
    if code:
        return [f"{name} ended with {code}: {(home / 'log').read_text()[-800:]}"]
    got, faults = results(home), []
    if differing := sorted(k for k in wanted.keys() | got.keys() if wanted.get(k) != got.get(k)):
        faults.append(f"{name}: other bytes in {differing}")
    if left := leftovers(home):
        faults.append(f"{name}: left behind: {left}")
    return faults


def kills(count: int, seed: int = 0, only: str = "", log: Callable[[str], Any] = print) -> Counter:
    "Kill every command; how many kills went well, and how many faults there were."
    rng, found = random.Random(seed), Counter()
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ):
        make_shared(Path(folder) / "shared")
        chosen = {n: c for n, c in commands(Path(folder) / "shared").items()
                  if not only or n in only.split(",")}
        share = {n: 1 if n in ("augment", "reproduce") else 3 for n in chosen}
        for name, command in chosen.items():
            done, faults = kill_often(name, command, -(-count * share[name] // sum(share.values())),
                                      Path(folder) / "homes", rng, log)
            found["kills"] += done
            found["faults"] += len(faults)
            log(f"{name}: {done} kills, {len(faults)} faults")
            for fault in faults:
                log(fault)
    return found


def main() -> None:
    "Run what is asked for."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["flips", "kills"])
    parser.add_argument("count", type=int, nargs="?", default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="commands to kill, with commas")
    a = parser.parse_args()

    def log(line: str) -> None:
        print(line, flush=True)

    if a.what == "flips":
        found = flips(a.count or 1000, a.seed, log)
        good = found["the same"] + found["told, then the same"]
        print(dict(found))
        print(f"{good} passed, {found.total() - good} failed")
    else:
        found = kills(a.count or 200, a.seed, a.only, log)
        print(dict(found))
        print(f"{found['kills'] - found['faults']} passed, {found['faults']} failed")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))
    main()
