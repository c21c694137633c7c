"""The script for a bare machine with a GPU: every stage rehearsed on the CPU."""
import json
from pathlib import Path

from forked import run_python

ROOT = Path(__file__).resolve().parent.parent


def test_rehearsal(tmp_path: Path) -> None:
    "What is packed here is enough there; every stage ends, and the CPU agrees with itself."
    packed, out = tmp_path / "packed", tmp_path / "out"
    for command in (["gpu_pack.py", packed, "--made-up"],
                    ["gpu.py", packed, "--out", out, "--rehearse"]):
        done = run_python(ROOT / "tests" / command[0], *command[1:])
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = json.loads((out / "summary.json").read_text("utf-8"))
    stages = {row["stage"] for row in rows}
    assert stages == {"same_step", "same_samples", "card", "training", "sampling", "recognisers",
                      "generators"}
    assert sum("loss error" in row for row in rows) == 8  # 2 predictions, 2 losses, 2 precisions
    fp32 = [row for row in rows if row.get("precision") == "fp32" and "loss error" in row]
    assert all(row["loss error"] < 1e-6 for row in fp32)  # the same device, asked twice
    for name in ("same_step.csv", "training.csv", "profile_eager.csv", "curve_paper.png",
                 "samples_open.png", "RESULTS.md"):
        assert (out / name).stat().st_size > 0, name
