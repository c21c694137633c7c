"""A wrong setting is one sentence, whichever door it comes through."""
import copy
import dataclasses
import json
import pickle
import subprocess
import sys

import pytest

from emodiff.base.chapter import chapter_settings
from emodiff.base.core import EmodiffError, error_message
from emodiff.base.settings import (
    PRESETS,
    Denoiser,
    Settings,
    Training,
    from_dict,
    load_preset,
    parse_changes,
    read_setting,
    replace,
    to_dict,
)

# concern, field, wrong value, what the sentence says after 'setting concern.'
WRONG = [
    ("training", "steps", "viele", "steps must be a whole number"),
    ("training", "steps", 2.5, "steps must be a whole number"),
    ("denoiser", "dilation", 1000, "dilation must be at most 8"),
    ("training", "steps", 0, "steps must be at least 1"),
    ("training", "batch", 0, "batch must be at least 1, not"),
    ("training", "batch", -3, "batch must be at least 1"),
    ("training", "lr", "abc", "lr must be a number"),
    ("training", "lr", 0, "lr must be more than 0"),
    ("training", "decay", "perhaps", "decay must be true or false"),
    ("training", "ema", 1.0, "ema must be less than 1"),
    ("training", "ema", -0.1, "ema must be at least 0"),
    ("training", "drop_part", 1.5, "drop_part must be at most 1"),
    ("training", "validate", 1, "validate must be less than 1"),
    ("training", "accumulate", 0, "accumulate must be at least 1"),
    ("training", "accumulate", 3, r"batch \(16\) must be a multiple of accumulate \(3\)"),
    ("training", "precision", "fp16", "precision must be 'auto', 'fp32' or 'bf16'"),
    ("training", "checkpoint_every", 0, "checkpoint_every must be at least 1"),
    ("sampling", "sampler", "foo", "sampler must be 'ancestral', 'ddim' or 'dpm', not 'foo'"),
    ("sampling", "steps", 5000, r"steps \(5000\) must be at most diffusion.steps \(4000\)"),
    ("sampling", "guidance", -1, "guidance must be at least 0"),
    ("diffusion", "schedule", "cosin", "schedule must be 'cosine' or 'linear'"),
    ("diffusion", "predict", "noise", "predict must be 'eps', 'v', 'x0' or 'edm'"),
    ("diffusion", "loss", "mse", "loss 'mse' trains no variance"),
    ("diffusion", "steps", 0, "steps must be at least 1"),
    ("denoiser", "heads", 3, r"channels \(128\) must be a multiple of heads \(3\)"),
    ("denoiser", "heads", 0, "heads must be at least 1"),
    ("denoiser", "kernel", 4, r"kernel \(4\) must be odd"),
    ("denoiser", "positions", 5, r"positions \(5\) must be even"),
    ("denoiser", "condition", "both", "condition must be 'apart', 'joint' or 'tokens'"),
    ("denoiser", "encoder", "nope", "encoder must be 'minilm', a folder that is there"),
    ("denoiser", "encoder", "/not/there", "encoder must be 'minilm', a folder that is there"),
    ("classifier", "strides", "4,2", "strides must be a longer list"),
    ("classifier", "conv_dropout", 1.0, "conv_dropout must be less than 1"),
    ("features", "win", 2048, r"win \(2048\) must not be longer than n_fft \(1024\)"),
    ("features", "f_max", 20000, r"f_min \(0\) must be below f_max \(20000\)"),
    ("gan", "mixup", 0, "mixup must be more than 0"),
    ("gan", "critic", 1, "critic must be at least 2"),
    ("protocol", "jobs", 0, "jobs must be at least 1"),
    ("protocol", "seeds", 0, "seeds must be at least 1"),
    ("protocol", "groups", 1, "groups must be at least 2"),
    ("protocol", "adaptation", "0,1", "adaptation must be at most 0.5"),
    ("protocol", "fractions", "0.1,half", "fractions must be a number"),
    ("protocol", "fractions", "1", "fractions must be less than 1"),
    ("protocol", "shares", "0", "shares must be more than 0"),
    ("standin", "speakers", 0, "speakers must be at least 1"),
]
LISTS = ("strides", "adaptation", "fractions", "shares", "arms")


def one_sentence(text: str) -> bool:
    return text.endswith(".") and "\n" not in text and ". " not in text.rstrip(".")


def listed(field: str, value):
    "The value as Python or JSON would give it: a list is no text with commas there."
    if field not in LISTS:
        return value
    return [json.loads(v) if v.replace(".", "").isdigit() else v for v in value.split(",")]


@pytest.mark.parametrize("concern, field, value, says", WRONG)
def test_from_the_command_line(concern, field, value, says) -> None:
    with pytest.raises(EmodiffError, match=f"setting {concern}.{says}") as error:
        load_preset(**parse_changes([f"{concern}.{field}={value}"]))
    assert one_sentence(str(error.value))


def test_a_curve_over_no_share_is_refused() -> None:
    with pytest.raises(EmodiffError, match="protocol.adaptation must be a list of at least 1"):
        load_preset(protocol={"adaptation": ()})


@pytest.mark.parametrize("concern, field, value, says", WRONG)
def test_from_python_and_from_json(concern, field, value, says) -> None:
    value = listed(field, value)
    given = to_dict(Settings())
    given[concern][field] = value
    for door in (lambda: load_preset("demo", **{concern: {field: value}}),
                 lambda: from_dict(Settings, json.loads(json.dumps(given)))):
        with pytest.raises(EmodiffError, match=f"setting {concern}.{says}") as error:
            door()
        assert one_sentence(str(error.value))
    if "diffusion.steps" not in says:  # which two concerns have to fit
        with pytest.raises(EmodiffError, match=f"setting {concern}.{says}"):
            replace(getattr(Settings(), concern), **{field: value})


@pytest.mark.parametrize("values, says", [
    ({"seeds": -1}, "setting protocol.seeds must be at least 1, not -1"),
    ({"shares": ["half"]}, "setting protocol.shares must be a number, not 'half'"),
    ({"shares": [[1]]}, r"setting protocol.shares must be a number, not \[1\]"),
    ({"fractions": [2]}, "setting protocol.fractions must be less than 1"),
    ({"preset": "papr"}, "unknown preset 'papr'")])
def test_from_a_chapter(values, says) -> None:
    with pytest.raises(EmodiffError, match=says):
        chapter_settings({"preset": "demo", **values})


@pytest.mark.parametrize("value", ["no", "yes", 1, 0, "False", None])
def test_python_and_json_know_no_other_words_for_true_and_false(value) -> None:
    says = "setting training.decay must be true or false"
    assert error_message(load_preset, training={"decay": value}).startswith(says)
    assert error_message(from_dict, Training, {"decay": value}).startswith(says)


@pytest.mark.parametrize("text, value", [("no", False), ("false", False), ("0", False),
                                         ("yes", True), ("true", True), ("1", True)])
def test_text_does(text, value) -> None:
    assert parse_changes([f"training.decay={text}"]) == {"training": {"decay": value}}


@pytest.mark.parametrize("changes", ["training.stps=1", "trainig.steps=1", "training=1", "steps=1",
                                     "training.steps", ""])
def test_a_misspelt_name_is_an_error(changes) -> None:
    assert one_sentence(error_message(parse_changes, [changes]).replace("e.g. ", ""))


def test_other_shapes_than_settings() -> None:
    for wrong in ([], 5, "x", None):
        assert "a group of settings" in error_message(from_dict, Settings, wrong)
        assert "a group of settings" in error_message(from_dict, Settings, {"training": wrong})
    assert "unknown setting training.stps" in error_message(from_dict, Training, {"stps": 1})
    assert "unknown setting stps" in error_message(from_dict, Settings, {"stps": 1})
    assert error_message(Training, 1, 2, "x") == "setting training.lr must be a number, not 'x'."
    for number in (float("nan"), float("inf")):
        assert "finite" in error_message(load_preset, training={"lr": number})
    for text in ("nan", "inf"):
        with pytest.raises(EmodiffError, match=r"setting training.lr must be"):
            load_preset(**parse_changes([f"training.lr={text}"]))


def test_an_encoder_is_known_a_folder_or_a_hub_name(tmp_path) -> None:
    for name in ("minilm", "bert-base-uncased", "sentence-transformers/all-MiniLM-L6-v2",
                 str(tmp_path)):
        assert Denoiser(encoder=name).encoder == name
    for name in ("nope", "", "a/b/c", "http://x", str(tmp_path / "none")):
        assert "encoder must be" in error_message(Denoiser, encoder=name)


def test_settings_are_dataclasses_as_ever() -> None:
    settings = load_preset("demo", protocol={"arms": ["real"], "shares": [1, 2.0]})
    assert settings.protocol.arms == ("real",) and settings.protocol.shares == (1.0, 2.0)
    assert pickle.loads(pickle.dumps(settings)) == copy.deepcopy(settings) == settings
    assert hash(settings) != hash(load_preset("demo"))
    assert dataclasses.replace(settings, preset="x").preset == "x"
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.preset = "x"
    assert list(dataclasses.asdict(settings)) == [f.name for f in dataclasses.fields(Settings)]


@pytest.mark.parametrize("name", PRESETS)
def test_json_brings_settings_back(name) -> None:
    settings = load_preset(name)
    assert from_dict(Settings, json.loads(json.dumps(to_dict(settings)))) == settings
    old = to_dict(settings)  # of a checkpoint that did not know every field yet
    del old["protocol"]["fractions"], old["gan"]
    assert from_dict(Settings, old).training == settings.training


def test_text_of_every_field_is_read_back() -> None:
    settings = load_preset("paper")
    for concern, fields in to_dict(settings).items():
        if isinstance(fields, dict):
            for field, value in fields.items():
                text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
                assert read_setting(f"{concern}.{field}", text) == getattr(
                    getattr(settings, concern), field)


def test_settings_import_nothing_heavy() -> None:
    code = ("import sys, emodiff.base.settings, emodiff.base.chapter, emodiff.app.cli; "
            "print([m for m in ('torch', 'numpy', 'pandas', 'scipy') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_papers_recogniser_has_what_section_5_2_says_and_no_more() -> None:
    "What helps the small presets is off in it."
    from emodiff.recognition.classifier import CnnBlstm
    from emodiff.studies.recogniser import PLAIN

    paper, demo = load_preset("paper").classifier, load_preset("demo").classifier
    assert replace(paper, **PLAIN) == paper != replace(demo, **PLAIN)
    assert (paper.conv_dropout, paper.lstm_dropout, paper.weight_decay) == (0.1, 0.2, 0.0)
    assert CnnBlstm(paper).linear.in_features == 2 * paper.hidden  # mean of the BLSTM, no more
    alone = replace(demo, shortcut=False)
    assert CnnBlstm(alone).linear.in_features == 4 * demo.hidden  # mean and deviation
    assert CnnBlstm(demo).linear.in_features == 4 * demo.hidden + 3 * 80  # and band statistics
