"""What `tests/run.py` imports once: each notebook and test file runs in a fork of that process.

Whatever is wrong with the package is told where a notebook or a test imports it, not here.
"""
import contextlib
import gc
import importlib
import io
import pkgutil
from pathlib import Path

import matplotlib.pyplot as plt

THIRD = ["torch", "torch._dynamo", "pandas", "scipy.signal", "scipy.stats", "seaborn",
         "sklearn.linear_model", "transformers.models.bert.modeling_bert", "librosa.filters",
         "nbdev.test", "_pytest.config", "IPython", "typer.testing", "hypothesis"]


def _warm() -> None:
    "Import the package, hash its code, load its encoder of prompts and draw a picture."
    for name in THIRD:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    import emodiff

    for module in pkgutil.walk_packages(emodiff.__path__, "emodiff."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    from emodiff.base.cache import code_version
    from emodiff.generator.prompts import load_encoder

    folder = Path(emodiff.__path__[0])  # syntax trees are kept: the run cache hashes them
    code_version(*(p.relative_to(folder).with_suffix("").as_posix() for p in folder.glob("*/*.py")))
    tokenizer, model = load_encoder()
    model(**tokenizer("Nothing is trained here.", return_tensors="pt"))
    figure, axis = plt.subplots()
    axis.set_title("$x_0$")
    figure.savefig(io.BytesIO())
    plt.close(figure)


with contextlib.suppress(Exception):
    _warm()
gc.collect()
gc.freeze()  # else each fork looks through all of it, 0.4 s, whenever it collects its own garbage
