"""GPU machines are often bare: from prepared Mels all up to the statistics must run there."""
import os
import subprocess
import sys
from pathlib import Path

# what such a machine lacks: nothing for audio, nothing for notebooks
HIDDEN = ["librosa", "soundfile", "soxr", "nbdev", "papermill", "parselmouth", "IPython",
          "matplotlib", "seaborn", "jinja2"]
IMPORTS = """
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys({hidden}))
import emodiff.base, emodiff.generator, emodiff.recognition, emodiff.speech.segments
for package in (emodiff.base, emodiff.generator, emodiff.recognition):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
"""
RUN = """
from emodiff.base.settings import load_preset
from emodiff.recognition.arms import chosen_arms
from emodiff.recognition.audit import run_audited_plan
from emodiff.recognition.cells import within_cells
from emodiff.recognition.classifier import made_up_segments
from emodiff.recognition.folds import loso_folds
from emodiff.recognition.pools import arm_synthesis, group_pools, pool_sizes
from emodiff.recognition.similarity import similarity_table
from emodiff.recognition.statistics import summarise
from emodiff.speech.segments import load_segments, save_segments
from pathlib import Path
save_segments(made_up_segments(32), Path("prepared"))
real, settings = load_segments(Path("prepared")), load_preset("smoke")
arms = chosen_arms(["real", "real + synthetic", "synthetic (cGAN)"])
made = arm_synthesis(real, arms, settings)
pools = group_pools(real, made, arms, settings)
cells = within_cells(loso_folds(real.table, settings.protocol),
                     pool_sizes(made, settings.protocol), settings.protocol, arms)
predictions = run_audited_plan(cells, pools, settings)
assert len(summarise(predictions, settings.protocol)) == 3
assert len(similarity_table(real, pools["group 0"])) == 7
"""


def test_from_prepared_mels_to_statistics_without_audio_and_notebooks(tmp_path: Path) -> None:
    "All modules of base, generator and recognition import, and a small plan runs."
    code = IMPORTS.format(hidden=HIDDEN) + RUN
    env = {**os.environ, "EMODIFF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, timeout=300,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
