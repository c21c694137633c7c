"""Bring executed chapters back into nbs/: the outputs of the run that made the committed figures.

    python tools/adopt.py figures/demo/notebooks 03_synthetic_data 04_within_corpus 05_cross_corpus

Only notebooks whose code is the committed code are taken; progress bars are dropped. A run on
other speech keeps its chapters beside its figures, without the folders of its machine:

    python tools/adopt.py figures/open/notebooks --keep figures/open/chapters 04_within_corpus
"""
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("corpora_dir = ", "out_dir = ", "vocoder = ")  # parameters that name a machine's folders


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


def keep(name: str, folder: Path, out: Path) -> None:
    "An executed chapter, less its progress bars and its machine's folders."
    notebook = json.loads((folder / f"{name}.ipynb").read_text("utf-8"))
    notebook["metadata"].pop("papermill", None)
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags", [])
        cell["metadata"] = {"tags": tags} if tags else {}
        if "injected-parameters" in tags:
            lines = "".join(cell["source"]).splitlines(True)
            cell["source"] = [x for x in lines if not x.startswith(FOLDERS)]
        if cell["cell_type"] == "code":
            cell["outputs"] = [o for o in cell["outputs"] if not is_bar(o)]
            cell["execution_count"] = None
            for output in cell["outputs"]:
                output.update({"execution_count": None} if "execution_count" in output else {})
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    (out / f"{name}.ipynb").write_text(text, "utf-8")


if __name__ == "__main__":
    source, *names = sys.argv[1:]
    if names[:1] == ["--keep"]:
        for chapter in names[2:]:
            keep(chapter, ROOT / source, ROOT / names[1])
    else:
        for chapter in names:
            adopt(chapter, ROOT / source)
