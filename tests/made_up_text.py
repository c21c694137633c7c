"""What the fuzz tests of speech share: bytes made of pieces of real label files."""
import os
import warnings
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from emodiff.base.core import EmodiffError

FUZZ = settings(max_examples=int(os.environ.get("EMODIFF_EXAMPLES", "20")), derandomize=True,
                database=None, deadline=None, suppress_health_check=list(HealthCheck))
PIECES = st.sampled_from([
    "[1.0 - 2.0]", "[", "]", "\t", "\n", "\r\n", ";", ",", '"', "Ses01F_impro01_F000", "ang",
    "rage", "[2.5, 2.5, 2.5]", ": Hi.", "UTD-IMPROV-S01A-F01-S-FM01.avi", "; N; A:3.0; V:3; D:3;",
    "1001_IEO_ANG_HI", "file", "speaker", "emotion", "gender", "angry", "y.wav", "tables:", " {}",
    "- &a [*a]", "name: x", "../", "\0", "\ufeff", "\ud800", "é", "٣"])
TEXTS = st.lists(PIECES | st.text(max_size=8), max_size=30).map("".join)
BLOBS = st.binary(max_size=300) | TEXTS.map(lambda t: t.encode("utf-8", "surrogatepass"))


def calm(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    "The result, or None where the project's own error came; anything else is a failure."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function(*args, **options)
        except EmodiffError as e:
            assert str(e).endswith(".") and str(e).isprintable(), repr(str(e))
            return None
