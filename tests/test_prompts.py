"""The file of embedded phrases: damaged, cut short, not writable."""
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emodiff.base.core import data_dir
from emodiff.base.settings import load_preset
from emodiff.generator.prompts import embed_prompts

TABLE = pd.DataFrame([dict(text="Kids are talking by the door", emotion=emotion, speaker="03",
                           corpus="RAVDESS", gender="male") for emotion in ("angry", "sad")])
SETTINGS = load_preset("demo").denoiser


def store() -> Path:
    "The only file of embedded phrases."
    [path] = (data_dir() / "cache" / "prompts").glob("*.npz")
    return path


@pytest.mark.parametrize("damage", [lambda b: b[:1000], lambda b: b"", lambda b: b"not a zip file",
                                    lambda b: b[:-30] + bytes(30)])
def test_damaged_store_is_made_again(home: Path, damage) -> None:
    "With a warning, and the same vectors."
    before = embed_prompts(TABLE, SETTINGS)
    store().write_bytes(damage(store().read_bytes()))
    with pytest.warns(UserWarning, match="damaged; embedding them again"):
        again = embed_prompts(TABLE, SETTINGS)
    assert np.allclose(again.vectors, before.vectors, atol=1e-6)
    assert np.array_equal(embed_prompts(TABLE, SETTINGS).vectors, again.vectors)  # whole again


def test_store_that_cannot_be_written(home: Path) -> None:
    "The vectors come all the same, with a warning that they are not kept."
    (data_dir() / "cache").mkdir(parents=True)
    (data_dir() / "cache" / "prompts").write_text("a file where a folder should be")
    with pytest.warns(UserWarning, match="not kept"):
        found = embed_prompts(TABLE, SETTINGS)
    assert np.array_equal(found.vectors, embed_prompts(TABLE, SETTINGS, cache=False).vectors)


def test_store_grows_by_new_phrases(home: Path) -> None:
    "A phrase keeps its vector when others join it."
    first = embed_prompts(TABLE[:1], SETTINGS)
    both = embed_prompts(TABLE, SETTINGS)
    assert np.array_equal(both.vectors[both.index[0]], first.vectors[0])
    with np.load(store(), allow_pickle=False) as kept:
        assert len(kept["keys"]) == 4  # a text, a speaker, two emotions
