"""Python in a process of its own that need not import PyTorch again.

A fresh interpreter imports PyTorch for three to six seconds. `tests/conftest.py` starts a server
before any test has changed anything; with the first request it imports PyTorch, unless
`tests/run.py` did, and each process is a fork of it. Only what is neither about the start of an
interpreter nor about its parent is run here: what an interpreter reads as it starts (its hash seed,
its encoding) is the server's.
"""
import atexit
import gc
import importlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import types
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMPORTED = ("torch", "torch._dynamo", "pandas", "scipy.signal")
_server: list[tuple[int, Connection]] = []


def start_server() -> None:
    "Fork the process from which the others are forked; it ends with this one."
    here, there = multiprocessing.Pipe()
    if (pid := os.fork()) == 0:
        here.close()
        _serve(there)
    there.close()
    _server.append((pid, here))
    atexit.register(_end_server, os.getpid())


def _end_server(owner: int) -> None:
    "Let the server end, and wait for it."
    if os.getpid() == owner and _server:
        pid, pipe = _server.pop()
        pipe.send(("end",))
        os.waitpid(pid, 0)


def _serve(pipe: Connection) -> None:
    "Start, wait for and look after processes until nobody asks any more."
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        while True:
            what, *rest = pipe.recv()
            if what == "end":
                os._exit(0)
            elif what == "start":
                for name in IMPORTED:
                    importlib.import_module(name)
                gc.freeze()  # what is here already is no garbage of the fork
                if (pid := os.fork()) == 0:
                    pipe.close()
                    _live(*rest)
                pipe.send(pid)
            else:  # wait, or only look
                pid, status = os.waitpid(rest[0], 0 if what == "wait" else os.WNOHANG)
                pipe.send(os.waitstatus_to_exitcode(status) if pid else None)
    except EOFError:
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _live(words: list[str], env: dict[str, str], cwd: str, out: str, err: str) -> None:
    "What the new process does: what `python` does with these words."
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for number, name in ((0, os.devnull), (1, out), (2, err)):
        os.dup2(os.open(name, os.O_RDWR | os.O_APPEND), number)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding="utf-8", closefd=False)
        for number, mode in enumerate(("r", "w", "w")))
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    code: object = 0
    try:
        if words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            exec(compile(words[1], "<string>", "exec"), main.__dict__)
        elif words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[:0] = words, [str(Path(words[0]).parent)]
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as e:
        code = e.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:  # end as an interpreter does
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


class Process:
    "A process of the server, much as `subprocess.Popen` has it; what it prints goes to files."

    def __init__(self, words: list[str], env: dict[str, str] | None = None,
                 cwd: Path | str = ROOT) -> None:
        self.returncode: int | None = None
        self._folder = tempfile.TemporaryDirectory()
        self.out, self.err = (Path(self._folder.name) / name for name in ("out", "err"))
        self.out.touch()
        self.err.touch()
        self.pid = self._ask("start", [str(w) for w in words], dict(env or os.environ), str(cwd),
                             str(self.out), str(self.err))

    def _ask(self, *words: object) -> int:
        "Ask the server."
        _server[0][1].send(words)
        return _server[0][1].recv()

    def poll(self) -> int | None:
        "How it ended, if it did."
        if self.returncode is None:
            self.returncode = self._ask("poll", self.pid)
        return self.returncode

    def wait(self) -> int:
        "How it ended, when it has."
        if self.returncode is None:
            self.returncode = self._ask("wait", self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        "A signal, if it still lives."
        if self.poll() is None:
            os.kill(self.pid, number)


def run_python(*words: object, env: dict[str, str] | None = None,
               cwd: Path | str = ROOT) -> subprocess.CompletedProcess[str]:
    "As `subprocess.run([sys.executable, *words])`: how it ended and what it printed."
    process = Process([str(w) for w in words], env, cwd)
    code = process.wait()
    said, wrong = (p.read_text("utf-8", "replace") for p in (process.out, process.err))
    return subprocess.CompletedProcess(list(words), code, said, wrong)
