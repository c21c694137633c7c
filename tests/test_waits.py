"""On a make-believe GPU: no operation mixes devices, and no step waits for the device."""
import json
from pathlib import Path
from typing import Any

import pytest
from forked import run_python

SCRIPT = Path(__file__).resolve().parent / "pretend_cuda.py"


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    "What each case came to, from a process of its own: the make-believe changes PyTorch."
    done = run_python(SCRIPT)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_what_is_planted_is_found(found: dict[str, Any]) -> None:
    "An index from the CPU, a number that is read, an unpinned copy, and two devices in one sum."
    kinds = sorted(kind for kind, _, _ in found["planted waits"]["waits"])
    assert kinds == ["_local_scalar_dense", "copy to the device", "index from the CPU"]
    assert found["planted mix"]["error"].startswith("Mixed")


def test_no_step_waits(found: dict[str, Any]) -> None:
    "Second steps of training, samplers, recognisers with every augmentation, and GANs."
    cases = {name: case for name, case in found.items() if not name.startswith("planted")}
    kinds = {name.split()[0] for name in cases}
    assert kinds == {"train_step", "sampling", "recogniser", "GAN"} and len(cases) >= 21
    for name, case in cases.items():
        assert not case["error"] and not case["waits"], (name, case)
