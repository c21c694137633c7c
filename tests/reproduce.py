"""Does a second run give the same bytes? `emodiff reproduce` on a preset, in a temporary home.

    python tests/reproduce.py [smoke] [--keep FOLDER]

1. from an empty cache; 2. again: nothing is run; 3. with --force: the same bytes, durations
included; 4. a figure changed by hand and a table deleted: their chapters alone are run, and give
the bytes of before; 5. with all data deleted, so that everything is spoken, trained and sampled
anew: the same but for durations. Ends with `N passed, N failed`.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from emodiff.base.core import digest
from emodiff.pages.recheck import recheck
from emodiff.pages.results import made_files

CHAPTERS = ("03_synthetic_data", "04_within_corpus", "05_cross_corpus")


def reproduce(home: Path, preset: str, *options: str) -> str:
    "One run in a home; what it printed."
    env = {**os.environ, "EMODIFF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    env.pop("IN_TEST", None)
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "emodiff", "reproduce", "--preset", preset,
                           "--device", "cpu", *options], env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"emodiff reproduce failed:\n{done.stderr[-3000:]}")
    print(f"      {' '.join(options) or 'run'}: {time.monotonic() - start:.0f} s", flush=True)
    return done.stdout


def hashes(out: Path, timeless: bool = False) -> dict[str, str]:
    "Each table and figure with its hash; `timeless`: tables without their columns of seconds."
    found = {}
    for path in sorted(made_files(out)):
        name = path.relative_to(out).as_posix()
        if timeless and path.suffix == ".csv":
            table = pd.read_csv(path)
            timed = [c for c in table if re.search(r"second|minute|time", c)]
            found[name] = digest(table.drop(columns=timed).to_csv(index=False).encode())
        elif not (timeless and path.suffix == ".md" and _timed(path)):
            found[name] = digest(path)
    return found


def _timed(path: Path) -> bool:
    "True where a table shows seconds."
    return bool(re.search(r"\| *(seconds|minutes) *\|", path.read_text("utf-8")))


def check(name: str, holds: bool, why: object = "") -> bool:
    "Print one line of the outcome."
    print(f"{'  ok' if holds else 'FAIL'}  {name}{'' if holds else f': {why}'}", flush=True)
    return holds


def differing(a: dict[str, str], b: dict[str, str]) -> list[str]:
    "The names whose hashes differ, or that one side lacks."
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def main() -> int:
    "Run the five steps."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", nargs="?", default="smoke")
    parser.add_argument("--keep", type=Path, help="work here and leave it, instead of a temporary "
                        "folder")
    a = parser.parse_args()
    root = a.keep or Path(tempfile.mkdtemp(prefix="emodiff-reproduce-"))
    out, results = root / "figures" / a.preset, []
    reproduce(root, a.preset)
    first, timeless = hashes(out), hashes(out, timeless=True)
    page = (out / "RESULTS.md").read_bytes()
    made = {c: json.loads((out / "notebooks" / f"{c}.record.json").read_text())["made"]
            for c in CHAPTERS}
    listed = {name for names in made.values() for name in names}
    results.append(check(f"{len(first)} tables and figures, each of them recorded",
                         listed == set(first) and len(first) > 20, differing(
                             dict.fromkeys(listed), dict.fromkeys(first))))
    again = recheck(out)
    results.append(check(f"{len(again.made)} files made again from predictions: the same bytes",
                         not again.faults and len(again.made) > 20, again.faults))
    text = reproduce(root, a.preset)
    results.append(check("a second run has nothing to do", text.count("not run again") == 3, text))
    reproduce(root, a.preset, "--force")
    results.append(check("forced, with the run cache: the same bytes", hashes(out) == first,
                         differing(first, hashes(out))))
    results.append(check("and the same RESULTS.md",
                         (out / "RESULTS.md").read_bytes() == page))
    (out / "fig1_diffusion.png").write_bytes(b"edited")
    next(out.glob("table3*.csv")).unlink()
    text = reproduce(root, a.preset)
    results.append(check("after a changed figure and a deleted table: 03 and 05 alone are run",
                         re.findall(r"== (\d\d)_\w+: done", text) == ["04"], text))
    results.append(check("and give the bytes of before", hashes(out) == first,
                         differing(first, hashes(out))))
    shutil.rmtree(root / "data")
    reproduce(root, a.preset, "--force")
    anew = hashes(out, timeless=True)
    results.append(check("from an empty cache: the same but for durations", anew == timeless,
                         differing(timeless, anew)))
    if not a.keep:
        shutil.rmtree(root)
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main())
