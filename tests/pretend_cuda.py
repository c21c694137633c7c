"""A make-believe CUDA: tensors that say they are on a GPU, hold CPU data, and count every wait.

    python tests/pretend_cuda.py

The device is called 'meta', a name that autograd takes without a GPU. Runs steps of training,
sampling, GANs and recognisers, and prints as JSON, case by case, where an operation mixed two
devices and where the CPU waited for the device. `tests/test_waits.py` reads it.
"""
import collections
import contextlib
import functools
import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo  # it asks for the device when it is imported
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = "meta"
ROOT = Path(__file__).resolve().parent.parent
VIEWS = {"view", "_unsafe_view", "permute", "transpose", "t", "expand", "slice", "select",
         "unsqueeze", "squeeze", "detach", "alias", "split", "as_strided", "unbind", "chunk"}
WAITS: collections.Counter = collections.Counter()  # (what, where): how often
PINNED: set[int] = set()  # addresses of tensors that were pinned


def place() -> str:
    "The line of emodiff that is being run."
    for frame in reversed(traceback.extract_stack()):
        if f"{ROOT.name}/emodiff/" in frame.filename or "/emodiff/emodiff/" in frame.filename:
            return f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
    return "outside"


def wait(what: str) -> None:
    "Note that the CPU waited."
    WAITS[what, place()] += 1


class Mixed(Exception):
    "An operation had tensors of two devices, which CUDA refuses."


class Pretended(torch.Tensor):
    "A tensor on the make-believe device."
    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "Pretended":
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, layout=held.layout, device=DEVICE, requires_grad=False)
        made.held = held
        return made

    def __repr__(self, *_: Any, **__: Any) -> str:  # type: ignore[override]
        return f"Pretended({self.held})"

    def tolist(self) -> Any:
        "As a list: waits."
        wait("tolist")
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def is_device(device: Any) -> bool:
    "Whether this names the make-believe device."
    return device is not None and torch.device(device).type != "cpu"


def tensors_of(values: Any) -> list[torch.Tensor]:
    "All tensors in nested arguments."
    return [x for x in tree_flatten(values)[0] if isinstance(x, torch.Tensor)]


def check(name: str, func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    "Count waits, refuse a mix of devices; whether the result is on the device."
    there = [x for x in tensors_of((args, kwargs)) if isinstance(x, Pretended)]
    here = [x for x in tensors_of((args, kwargs)) if not isinstance(x, Pretended)]
    result = is_device(kwargs["device"]) if kwargs.get("device") is not None else bool(there)
    if name == "copy_":
        to, source = args[0], args[1]
        if isinstance(to, Pretended) and not isinstance(source, Pretended) and source.dim():
            if not (source.data_ptr() in PINNED and (args[2:] or kwargs.get("non_blocking"))):
                wait("copy to the device")
        if not isinstance(to, Pretended) and isinstance(source, Pretended):
            wait("copy from the device")
        return isinstance(to, Pretended)
    if name in ("_to_copy", "to"):
        pinned = all(x.data_ptr() in PINNED for x in here) and kwargs.get("non_blocking")
        if here and result and not pinned:
            wait("copy to the device")
        if there and not result:
            wait("copy from the device")
        return result
    if name in ("_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select",
                "_unique2", "unique_dim") and there:
        wait(name)
    elif name in ("index", "index_put", "index_put_", "_index_put_impl_") and there:
        index = tensors_of(args[1])
        if not isinstance(args[0], Pretended):
            raise Mixed(f"{name}: a CPU tensor indexed by one of the device, at {place()}")
        if any(not isinstance(x, Pretended) for x in index):
            wait("index from the CPU")
        if any(x.dtype == torch.bool for x in index):
            wait("index of booleans")
    elif there and any(x.dim() > 0 for x in here):
        raise Mixed(f"{func} mixes devices at {place()}")
    return result


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    "An operation, on the data that the make-believe tensors hold."
    name = func._schema.name.split("::")[1]
    result = check(name, func, args, kwargs)
    plain = dict(kwargs)
    if is_device(plain.get("device")):
        plain["device"] = torch.device("cpu")
    if isinstance(plain.get("generator"), Draws):
        plain["generator"] = plain["generator"].inner
    held = tree_map(lambda x: x.held if isinstance(x, Pretended) else x, (args, plain))
    out = func(*held[0], **held[1])
    if name.endswith("_") and not name.endswith("__") and isinstance(out, torch.Tensor):
        return args[0]
    if "out" in kwargs and isinstance(out, torch.Tensor):
        return kwargs["out"]
    if not result:
        return out
    return tree_map(lambda x: Pretended(x) if isinstance(x, torch.Tensor)
                    and not isinstance(x, Pretended) else x, out)


class Pretend(TorchDispatchMode):
    "Every operation inside goes through `run`."

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class Draws:
    "A random generator of the make-believe device."

    def __init__(self) -> None:
        self.device, self.inner = torch.device(DEVICE), torch.Generator()

    def manual_seed(self, seed: int) -> "Draws":
        self.inner.manual_seed(seed)
        return self

    def get_state(self) -> torch.Tensor:
        return self.inner.get_state()

    def set_state(self, state: torch.Tensor) -> None:
        self.inner.set_state(state)


REAL_GENERATOR = torch.Generator


def make_generator(device: Any = "cpu") -> Any:
    "torch.Generator, also for the make-believe device."
    return Draws() if is_device(device) else REAL_GENERATOR(device)


def of_its_device(draw: Callable) -> Callable:
    "A drawing function that refuses a generator of another device than its result's."
    @functools.wraps(draw)
    def drawn(*args: Any, generator: Any = None, **kwargs: Any) -> Any:
        if generator is not None and is_device(generator.device) != is_device(kwargs.get("device")):
            raise Mixed(f"{draw.__name__} with a generator of another device at {place()}")
        if isinstance(generator, Draws):
            generator = None
        return draw(*args, **({"generator": generator} if generator else {}), **kwargs)
    return drawn


def moved(make: Callable) -> Callable:
    "torch.tensor and torch.full copy what they are given to the device."
    @functools.wraps(make)
    def made(*args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
        x = make(*args, **kwargs)
        return x.to(device) if is_device(device) else x
    return made


def pretend() -> None:
    "Let PyTorch believe that there is a GPU."
    torch.Generator = make_generator  # type: ignore[misc,assignment]
    for name in ("randn", "rand", "randint", "randperm"):
        setattr(torch, name, of_its_device(getattr(torch, name)))
    torch.tensor, torch.full = moved(torch.tensor), moved(torch.full)
    old_normal = torch.Tensor.normal_

    def normal_(self: Any, *args: Any, generator: Any = None, **kwargs: Any) -> Any:
        if generator is not None and is_device(generator.device) != isinstance(self, Pretended):
            raise Mixed(f"normal_ with a generator of another device at {place()}")
        return old_normal(self, *args, **kwargs)

    def pin_memory(self: torch.Tensor) -> torch.Tensor:
        copy = self.clone()
        PINNED.add(copy.data_ptr())
        KEPT.append(copy)
        return copy

    torch.Tensor.normal_ = normal_  # type: ignore[method-assign]
    torch.Tensor.pin_memory = pin_memory  # type: ignore[method-assign,assignment]
    for name in ("torch.utils._foreach_utils", "torch.optim.optimizer"):
        module: Any = importlib.import_module(name)
        module._get_fused_kernels_supported_devices = lambda: ["cpu", "cuda", "meta"]
    for name, value in {"_lazy_init": None, "is_available": True, "is_bf16_supported": True,
                        "max_memory_allocated": 0, "synchronize": None}.items():
        setattr(torch.cuda, name, lambda *_, value=value, **__: value)
    torch.cuda.get_rng_state = lambda *_: torch.get_rng_state()
    torch.cuda.set_rng_state = lambda *_: None  # type: ignore[assignment]


KEPT: list[torch.Tensor] = []  # pinned copies live on, so that no address comes twice
FOUND: dict[str, dict[str, Any]] = {}  # what each case came to


@contextlib.contextmanager
def case(name: str) -> Iterator[None]:
    "Run a case; its waits and its error are kept."
    WAITS.clear()
    error = ""
    try:
        with Pretend():
            yield
    except Exception as e:
        at = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(e.__traceback__)]
        error = f"{type(e).__name__}: {e!s:.300} ({', '.join(at[-4:])})"
    FOUND[name] = {"waits": [[*k, n] for k, n in WAITS.items()], "error": error}


def outside(function: Callable) -> Callable:
    "A function that the make-believe does not see: BERT runs on the CPU."
    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes():
            return function(*args, **kwargs)
    return called


def planted_cases(segments: Any) -> None:
    "What must be found: three waits, and a mix of devices."
    with case("planted waits"):
        x, rows = torch.ones(3, device=DEVICE), torch.tensor([0, 2])
        float(x[rows].sum())
        rows.to(DEVICE, non_blocking=True)
    with case("planted mix"):
        torch.ones(3, device=DEVICE) + torch.ones(3)


def training_cases(segments: Any) -> None:
    "One step of the generator under several settings."
    from emodiff.base.settings import load_preset
    from emodiff.base.workers import ProcessGroup
    from emodiff.generator import training

    small = {"channels": 32, "condition_channels": 16, "blocks_before": 2, "blocks_after": 1}
    paper = {"dilation": 1, "positions": 0, "skip": False}
    for name, changes in {
            "eps": {"diffusion": {"predict": "eps"}}, "edm": {},
            "v": {"diffusion": {"predict": "v"}}, "x0": {"diffusion": {"predict": "x0"}},
            "mse": {"diffusion": {"loss": "mse", "variance": "fixed_small"}},
            "tokens": {"denoiser": {**paper, "condition": "tokens"}},
            "plain": {"denoiser": {"time": "add", "norm": "none", **paper}}}.items():
        changes = {**changes, "denoiser": {**small, **changes.get("denoiser", {})}}
        settings = load_preset("smoke", **{**changes, "training": {
            "steps": 2, "batch": 4, "precision": "fp32", "clip": 1.0}})
        with case(f"train_step {name}"):
            job, state, *_ = training.set_up_training(segments, settings, DEVICE, 0, ProcessGroup())
            draw = state.draws.micro_batch

            def with_first(*args: Any, draw: Any = draw) -> Any:
                drawn = draw(*args)
                drawn[1][0] = 0  # a row with the likelihood's own term
                return drawn

            state.draws.micro_batch = with_first
            training.train_step(job, state.net, state)  # fills the tables
            WAITS.clear()
            training.train_step(job, state.net, state)


def sampling_cases(segments: Any) -> None:
    "A walk of every sampler, with and without guidance."
    from emodiff.base.settings import load_preset
    from emodiff.generator.denoiser import DenoiserNet
    from emodiff.generator.diffusion import make_chain
    from emodiff.generator.sampling import (
        Generator,
        Guided,
        SampleNoise,
        sampling_chain,
        walk_chain,
    )

    settings = load_preset("smoke", training={"precision": "fp32"})
    with _disable_current_modes():
        net = DenoiserNet(settings.denoiser, 384, 3).eval().requires_grad_(False)
    for sampler in ("ancestral", "ddim", "dpm"):
        for guidance in (1.0, 2.0):
            with case(f"sampling {sampler}, guidance {guidance}"):
                there = net.to(DEVICE)
                whole = make_chain(settings.diffusion)
                generator = Generator(there, whole, settings, device=DEVICE)
                chain = sampling_chain(whole, sampler, 3)
                model = Guided(generator, np.zeros((4, 3, 384), np.float32), guidance)
                noise = SampleNoise([1, 2, 3, 4], (80, 256), DEVICE)
                WAITS.clear()
                walk_chain(model, chain, sampler, noise)


def recogniser_cases(segments: Any) -> None:
    "Steps of a recogniser with every augmentation."
    from emodiff.base.settings import load_preset
    from emodiff.recognition import classifier
    from emodiff.recognition.augmentation import TRANSFORMS, transform_named

    for name in ("", *TRANSFORMS):
        settings = load_preset("smoke", classifier={"steps": 3, "batch": 8}).classifier
        transform, seen = transform_named((name,) if name else ()), []

        def counted(batch: Any, rng: Any, transform: Any = transform, seen: Any = seen) -> Any:
            seen.append(1)
            if len(seen) == 2:  # what came before was the setting up
                WAITS.clear()
            return transform(batch, rng) if transform else batch

        with case(f"recogniser {name}".strip()):
            classifier.train_classifier(segments, settings, 0, device=DEVICE, transform=counted)


def gan_cases(segments: Any) -> None:
    "One step of every GAN."
    from emodiff.base.settings import GANS, load_preset
    from emodiff.generator import gan_training

    for kind in GANS:
        settings = load_preset("smoke", training={"steps": 2, "batch": 4})
        with case(f"GAN {kind}"):
            job, state, *_ = gan_training._set_up_gan(kind, segments, settings, DEVICE, 0)
            gan_training._gan_step(job, state)
            WAITS.clear()
            gan_training._gan_step(job, state)


def main() -> None:
    "All cases, as JSON."
    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT))
    os.environ["EMODIFF_HOME"] = tempfile.mkdtemp()
    from emodiff.base.settings import load_preset, replace
    from emodiff.generator import training
    from emodiff.recognition.classifier import made_up_segments

    segments = made_up_segments(24)
    for condition in ("apart", "tokens"):  # BERT is imported before the make-believe begins
        training.embed_prompts(segments.table, replace(load_preset("smoke").denoiser,
                                                       condition=condition))
    training.embed_prompts = outside(training.embed_prompts)
    pretend()
    old = torch.autocast

    class Autocast(old):  # type: ignore[misc,valid-type]
        "PyTorch has no autocast for this device."

        def __init__(self, kind: str, *args: Any, **kwargs: Any):
            super().__init__("cpu" if kind == "meta" else kind, *args, **kwargs)

    torch.autocast = Autocast  # type: ignore[misc]
    for run_cases in (planted_cases, training_cases, sampling_cases, recogniser_cases, gan_cases):
        run_cases(segments)
    print(json.dumps(FOUND, indent=1))


if __name__ == "__main__":
    main()
