"""Bring executed chapters back into nbs/: the outputs of the run that made the committed figures.

    python tests/adopt.py figures/demo/notebooks 03_synthetic_data 04_within_corpus 05_cross_corpus

Only notebooks whose code is the committed code are taken; progress bars are dropped.
"""
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def is_bar(output: dict) -> bool:
    "A progress bar, or a widget that lives only in a running notebook."
    widget = "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    return widget or output.get("name") == "stderr"


def adopt(name: str, folder: Path) -> None:
    "Copy the outputs of one executed chapter into the committed one."
    path = ROOT / "nbs" / f"{name}.ipynb"
    ours = json.loads(path.read_text("utf-8"))
    ran = json.loads((folder / f"{name}.ipynb").read_text("utf-8"))
    theirs = {c["id"]: c for c in ran["cells"]
              if "injected-parameters" not in c["metadata"].get("tags", [])}
    for cell in ours["cells"]:
        if cell["cell_type"] != "code":
            continue
        other = theirs.get(cell["id"])
        if other is None or "".join(other["source"]) != "".join(cell["source"]):
            sys.exit(f"{name}: cell {cell['id']} was changed since it was run; run it again first.")
        cell["outputs"] = [o for o in other["outputs"] if not is_bar(o)]
    path.write_text(json.dumps(ours, indent=1, ensure_ascii=False) + "\n", "utf-8")
    subprocess.run([Path(sys.executable).parent / "nbdev_clean", "--fname", path], check=True)


if __name__ == "__main__":
    for chapter in sys.argv[2:]:
        adopt(chapter, ROOT / sys.argv[1])
