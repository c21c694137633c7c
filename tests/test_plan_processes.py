"""Processes, clusters and the death of a worker leave a plan's numbers as they are."""
import importlib.util
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_plan import MadeUpPlan

from emodiff.base.core import EmodiffError, error_message, runs_dir
from emodiff.base.settings import load_preset, replace
from emodiff.base.workers import dask_client
from emodiff.recognition.arms import ARMS
from emodiff.recognition.cells import within_cells
from emodiff.recognition.classifier import made_up_segments
from emodiff.recognition.plan import run_plan
from emodiff.recognition.pools import group_synthesis

needs_dask = pytest.mark.skipif(not importlib.util.find_spec("distributed"),
                                reason="Dask is not installed, there is no cluster to run on")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory):
    "The made-up plan, its cells and the predictions of one process, in a home of its own."
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMODIFF_HOME", str(tmp_path_factory.mktemp("first")))
        plan = MadeUpPlan()
        plan.cells = within_cells(plan.folds, plan.sizes, plan.settings.protocol, ARMS[:3:2])
        plan.first = run_plan(plan.cells, plan.pools, plan.settings)
        yield plan


def without_seconds(predictions: pd.DataFrame) -> pd.DataFrame:
    "Predictions without how long they took."
    return predictions.drop(columns="seconds")


def test_two_processes_give_the_generators_and_numbers_of_one(
        plan, home: Path, monkeypatch, tmp_path: Path) -> None:
    "The same two processes make both, one after the other."
    real, one = made_up_segments(16), load_preset("smoke")
    alone = group_synthesis(real, one)
    monkeypatch.setenv("EMODIFF_HOME", str(tmp_path / "another"))
    before = dict(os.environ)
    beside = group_synthesis(real, replace(one, protocol=replace(one.protocol, jobs=2)))
    two = replace(plan.settings, protocol=replace(plan.settings.protocol, jobs=2))
    few = run_plan(plan.cells[:4], plan.pools, two)
    assert dict(os.environ) == before
    assert without_seconds(few).equals(without_seconds(plan.first[: len(few)]))
    for g, made in alone.items():
        assert np.array_equal(made.segments.mels, beside[g].segments.mels)
        assert made.segments.table.equals(beside[g].segments.table)


def kill_one(cluster, cells: int, done: list[int]) -> None:
    "Kill a worker when half of the cells are there; `done` counts them."
    def count() -> int:
        return sum(p.suffix == "" for p in (runs_dir() / "cell").glob("*"))

    while count() < cells // 2:
        time.sleep(0.02)
    done.append(count())
    worker = next(iter(cluster.workers.values()))
    worker.auto_restart = False  # the plan must live with what is left
    os.kill(worker.pid, 9)


@needs_dask
def test_a_plan_survives_the_death_of_a_dask_worker(plan, home: Path) -> None:
    import dask
    from distributed import LocalCluster

    for name in ("distributed.nanny", "distributed.scheduler", "distributed.worker"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    (runs_dir() / "cell").mkdir(parents=True)
    forked = {"distributed.worker.multiprocessing-method": "forkserver"}  # half the time to start
    with dask.config.set(forked), LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None,
            silence_logs=logging.CRITICAL) as cluster:
        far = replace(plan.settings, protocol=replace(plan.settings.protocol,
                                                      cluster=cluster.scheduler_address))
        done: list[int] = []
        killer = threading.Thread(target=kill_one, args=(cluster, len(plan.cells), done))
        killer.start()
        there = run_plan(plan.cells, plan.pools, far)
        killer.join()
    assert len(plan.cells) // 2 <= done[0] < len(plan.cells)
    assert without_seconds(there).equals(without_seconds(plan.first))


@needs_dask
def test_a_scheduler_that_does_not_answer_is_one_sentence() -> None:
    def connect() -> None:
        with dask_client("tcp://127.0.0.1:9", patience=1):
            pass

    assert "no Dask scheduler answers" in error_message(connect)


def cluster_process(kind: str, *words: str) -> subprocess.Popen:
    "A scheduler or a worker as a cluster starts it."
    return subprocess.Popen([sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard",
                             *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


@needs_dask
def test_a_plan_survives_the_death_of_the_scheduler(plan, home: Path) -> None:
    "Killed after two cells: the numbers of one process, or one sentence."
    from distributed import Client

    logging.getLogger("distributed.client").setLevel(logging.CRITICAL + 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (runs_dir() / "cell").mkdir(parents=True)
    scheduler = cluster_process("scheduler", "--host", address)
    worker = cluster_process("worker", "--nthreads", "1", "--no-nanny", f"tcp://{address}")

    def kill() -> None:
        "Once the scheduler has given away some cells."
        while sum(p.suffix == "" for p in (runs_dir() / "cell").glob("*")) < 2:
            time.sleep(0.02)
        scheduler.kill()

    far = replace(plan.settings, protocol=replace(plan.settings.protocol,
                                                  cluster=f"tcp://{address}"))
    try:
        with Client(far.protocol.cluster, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        try:
            there = run_plan(plan.cells[:6], plan.pools, far)
            assert without_seconds(there).equals(without_seconds(plan.first[: len(there)]))
        except EmodiffError as e:
            assert "\n" not in str(e)
        assert scheduler.wait(10) == -9
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()
