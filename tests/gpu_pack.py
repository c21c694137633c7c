"""Packs what `tests/gpu.py` needs on a bare machine with a GPU, at most 45 MiB.

    python tests/gpu_pack.py DIR [--corpora-dir CORPORA] [--made-up] [--wheels 3.12]

Run here, with all of emodiff installed; DIR must be a folder that git ignores. It gets a home
(`data/cache/prompts` with a vector for every phrase, so that no BERT is needed there) and, per
corpus, `NAME.npz` with float16 Mels cut at their last frame, and `NAME.csv`. `--made-up` packs a
few made-up segments instead of recorded speech: enough for a rehearsal. `--wheels` adds pydantic
for another Python, should the bare machine lack it.
"""
import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
CORPORA = ("RAVDESS", "EmoDB")
LIMIT = 45 * 2**20  # bytes in all
WHEELS = 3 * 2**20  # bytes of pydantic's, where they are asked for
BERT_WIDTH = 768  # of bert-base-uncased; its vectors are random here, for rates only


def size(folder: Path) -> int:
    "Bytes of everything in a folder."
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def pack_segments(segments, path: Path) -> None:  # type: ignore[no-untyped-def]
    "Mels without their silence at the end, and the table, without this machine's paths."
    frames = segments.table["frames"].to_numpy()
    speech = np.concatenate([np.asarray(m)[:, :n] for m, n in
                             zip(segments.mels, frames, strict=True)], axis=1)
    np.savez_compressed(path.with_suffix(".npz"), speech=speech, frames=frames)
    segments.table.assign(path="").to_csv(path.with_suffix(".csv"), index=False)


def pack_prompts(table: pd.DataFrame, made_up: bool) -> None:
    "A vector for every phrase of a table, real for MiniLM, random for bert-base-uncased."
    from emodiff.base.core import digest, rng_for
    from emodiff.base.settings import load_preset
    from emodiff.generator import prompts

    for encoder, condition in (("minilm", "apart"), ("minilm", "tokens"),
                               ("bert-base-uncased", "tokens")):
        settings = load_preset("demo", denoiser={"encoder": encoder, "condition": condition})
        if encoder == "minilm" and not made_up:
            prompts.embed_prompts(table, settings.denoiser)
            continue
        width = 384 if encoder == "minilm" else BERT_WIDTH
        distinct, _ = prompts._distinct_prompts(table, condition)
        rng, store = rng_for("random prompts", encoder), {}
        for phrase in sorted({p for prompt in distinct for p in prompt if p}):
            tokens = len(phrase.split()) + 2 if condition == "tokens" else 1
            store[digest(phrase.encode())[:32]] = (0.3 * rng.normal(size=(tokens, width))).astype(
                np.float16 if condition == "tokens" else np.float32)
        prompts._write_store(prompts._store_path(encoder, condition == "tokens"), store)


def read(name: str, corpora: Path, made_up: bool):  # type: ignore[no-untyped-def]
    "A corpus as segments."
    if made_up:
        from emodiff.recognition.classifier import made_up_segments

        return made_up_segments(96, speakers="ABCDEF")
    from emodiff.base.settings import load_preset
    from emodiff.speech.segments import prepare
    from emodiff.speech.standins import load_corpus

    return prepare(load_corpus(name, corpora), load_preset("open").features)


def main() -> None:
    "Pack, and say how large it is."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--corpora-dir", type=Path, default=ROOT.parent / "shared" / "corpora")
    parser.add_argument("--made-up", action="store_true")
    parser.add_argument("--wheels", default="", help="a Python version, e.g. 3.12")
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    os.environ["EMODIFF_HOME"] = str(a.folder / "home")
    for name in CORPORA[:1] if a.made_up else CORPORA:
        segments = read(name, a.corpora_dir, a.made_up)
        pack_segments(segments, a.folder / name)
        if name == CORPORA[0]:  # the one that a generator is trained on
            pack_prompts(segments.table, a.made_up)
        for leftover in ("runs", "corpora", "standin"):
            shutil.rmtree(a.folder / "home" / "data" / leftover, ignore_errors=True)
        if size(a.folder) > LIMIT - WHEELS:
            print(f"{name} does not fit beside the others and is left out")
            for kind in (".npz", ".csv"):
                (a.folder / name).with_suffix(kind).unlink()
        print(f"{name}: {len(segments)} segments, {size(a.folder) / 2**20:.1f} MiB so far")
    if a.wheels:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:",
                        "--python-version", a.wheels, "-d", str(a.folder / "wheels"),
                        "pydantic==2.14.3"], check=True)
    if size(a.folder) > LIMIT:
        sys.exit(f"{a.folder} has {size(a.folder) / 2**20:.1f} MiB, more than the 45 that can be "
                 "carried; leave a corpus out.")
    print(f"{size(a.folder) / 2**20:.1f} MiB in {a.folder.name}")


if __name__ == "__main__":
    main()
