"""JupyterLab for real: chapter 05 and the playground, run in a headless Chromium as a reader would.

    python tests/lab.py [--shots FOLDER] [05_cross_corpus | 03_playground ...]

Starts its own JupyterLab on a copy of the notebooks in a temporary folder, opens each in the
browser, runs all cells from the menu, and looks at what is on the page. Without JupyterLab or a
browser it skips. Ends with the line `N passed, N failed`, counting notebooks.
"""
import argparse
import base64
import contextlib
import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from browser import NAMES, ROOT, SOUNDS, Tab, browser, chromium

LIMIT = 900  # seconds a notebook may take
QUIET = {"@jupyterlab/apputils-extension/notification": {"fetchNews": "false"},
         "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"}}
# what JupyterLab itself says in its console is not ours to fix
OURS = ("emodiff", "widget", "ipywidgets", "audio", "comm", "uncaught")


def copy_notebook(name: str, folder: Path) -> None:
    "A notebook without outputs; a chapter asks for the preset 'smoke'."
    path = next((ROOT / "nbs").rglob(f"{name}.ipynb"))
    notebook = json.loads(path.read_text("utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
        if "parameters" in cell["metadata"].get("tags", []):
            before = "".join(cell["source"])
            after = before.replace('preset: str = "demo"', 'preset: str = "smoke"')
            if after == before:
                raise RuntimeError(f"{name}: the parameters cell names no preset 'demo'")
            cell["source"] = after
    (folder / f"{name}.ipynb").write_text(json.dumps(notebook), "utf-8")


@contextlib.contextmanager
def laboratory(folder: Path, home: Path) -> Iterator[str]:
    "The address of a JupyterLab of our own, with its token, on the notebooks in a folder."
    settings, token = home / "jupyter" / "settings", secrets.token_hex(16)
    for name, value in QUIET.items():
        path = settings / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value), "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "EMODIFF_HOME": str(home), "HF_HUB_OFFLINE": "1", "EMODIFF_PROGRESS": "",
           "OMP_NUM_THREADS": "1", "JUPYTERLAB_SETTINGS_DIR": str(settings),
           "JUPYTERLAB_WORKSPACES_DIR": str(home / "jupyter" / "workspaces"),
           "JUPYTER_CONFIG_DIR": str(home / "jupyter" / "config"),
           "JUPYTER_DATA_DIR": str(home / "jupyter" / "data"),
           "JUPYTER_RUNTIME_DIR": str(home / "jupyter" / "runtime")}
    env.pop("IN_TEST", None)  # a reader's kernel
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
               "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
               f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"]
    with open(home / "lab.log", "wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder,
                                   stdin=subprocess.DEVNULL, start_new_session=True)
    address, end = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while not answers(f"{address}/api?token={token}"):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("JupyterLab does not start: "
                                   + (home / "lab.log").read_text("utf-8", "replace")[-3000:])
            time.sleep(0.2)
        yield f"{address}/lab/tree/NAME.ipynb?token={token}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # the session started above, kernels and all
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(url: str) -> bool:
    "True where a server answers."
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def click(tab: Tab, selector: str, seconds: float = 30) -> None:
    "Click the middle of an element with the mouse."
    found = f"document.querySelector({json.dumps(selector)})"
    if not tab.until(f"{found} && {found}.getBoundingClientRect().width > 0", seconds):
        raise RuntimeError(f"there is no {selector} on the page")
    x, y = tab.js(f"""(() => {{ const r = {found}.getBoundingClientRect();
                       return [r.x + r.width / 2, r.y + r.height / 2]; }})()""")
    for kind, buttons in (("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)):
        tab.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=buttons,
                 clickCount=int(kind != "mouseMoved"))


KERNEL = """document.querySelector('.jp-KernelName').textContent.includes('Python') && fetch(
  '/api/sessions').then(r => r.json()).then(s => s.some(
    x => location.pathname.endsWith(x.path) && x.kernel.execution_state === 'idle'))"""
BUSY = """[...document.querySelectorAll('.jp-Notebook .jp-InputPrompt')].some(
  p => p.textContent.includes('*'))"""
DONE = """[...document.querySelectorAll('.jp-Notebook .jp-CodeCell .jp-InputPrompt')].filter(
  p => /\\[\\d+\\]/.test(p.textContent)).length"""
ERRORS = """[...document.querySelectorAll(
  '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]')].map(
  e => e.textContent.slice(0, 500))"""


def run_all(tab: Tab, url: str) -> list[str]:
    "Open a notebook, choose Run All Cells from the menu, wait; what went wrong."
    tab.events.clear()
    tab.send("Page.navigate", url=url)
    idle = "document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]')"
    if not (tab.until(f"document.querySelector('.jp-Notebook .jp-CodeCell') && {idle}", 120)
            and tab.until(KERNEL, 120)):
        return ["the notebook does not open, or its kernel does not start"]
    menu = [".lm-MenuBar-item:has(.lm-MenuBar-itemLabel)", "Run"]
    tab.js(f"""[...document.querySelectorAll({json.dumps(menu[0])})].find(
        i => i.textContent.trim() === {json.dumps(menu[1])}).id = 'run-menu'""")
    click(tab, "#run-menu")
    click(tab, ".lm-Menu-item[data-command='runmenu:run-all']")
    if not tab.until(f"({BUSY}) || ({DONE}) > 0", 60):
        return ["Run All Cells does nothing"]
    if not tab.until(f"!({BUSY}) && ({DONE}) > 0 && !!({idle})", LIMIT):
        return [f"is not done after {LIMIT} s"]
    return [f"error output: {text}" for text in tab.js(ERRORS)]


def console(tab: Tab) -> list[str]:
    "Errors in the browser's console that are ours."
    found = []
    for event in tab.events:
        p = event.get("params", {})
        if event["method"] == "Runtime.exceptionThrown":
            found.append(json.dumps(p["exceptionDetails"]))
        elif event["method"] == "Runtime.consoleAPICalled" and p["type"] == "error":
            found.append(" ".join(str(a.get("value", a.get("description"))) for a in p["args"]))
        elif event["method"] == "Log.entryAdded" and p["entry"]["level"] == "error":
            found.append(f"{p['entry']['text']} {p['entry'].get('url', '')}")
    return [f"console: {text[:300]}" for text in found if any(o in text.lower() for o in OURS)]


SIX = ("real", "synthetic", "real + synthetic", "real + mixup", "synthetic + mixup",
       "real + synthetic + mixup")  # the arms of the paper's own rows


def check_chapter(tab: Tab, home: Path) -> tuple[list[str], str]:
    "Chapter 05 after its run: tables, figure, files."
    tables = tab.js("""[...document.querySelectorAll('.jp-OutputArea-output table')].map(
        t => [t.rows.length, t.textContent])""")
    figures = tab.js("""[...document.querySelectorAll('.jp-OutputArea-output img')].filter(
        i => i.complete && i.naturalWidth > 200 && i.naturalHeight > 100).length""")
    table3 = [text for rows, text in tables if rows > len(SIX) and all(arm in text for arm in SIX)]
    said = tab.js("[...document.querySelectorAll('.jp-RenderedMarkdown')].map(e => e.textContent)")
    faults = [] if table3 and any("Table 3. UAR (%)" in text for text in said) else [
        "Table 3 is not on the page"]
    faults += [] if figures else ["Fig. 4 is not on the page"]
    tab.js("document.querySelector('.jp-OutputArea-output img')?.scrollIntoView({block: 'center'})")
    out = home / "data" / "figures" / "smoke"  # where a chapter run by hand writes
    faults += [f"{name} was not written" for name in ("table3_cross_corpus.csv",
                                                      "fig4_adaptation.png")
               if not (out / name).is_file()]
    return faults, f"{len(tables)} tables, {figures} figure(s)"


PANEL = "[...document.querySelectorAll('.widget-vbox')].filter(p => p.querySelector('button'))"
UNNAMED = """p => [...p.querySelectorAll('input, select, button')].filter(f => !(
  f.getAttribute('aria-label') || (f.labels && f.labels.length && f.labels[0].textContent.trim())
  || (f.tagName === 'BUTTON' && f.textContent.trim()))).map(f => f.outerHTML.slice(0, 120))"""
FOCUS = "document.activeElement.textContent.trim()"


def check_playground(tab: Tab, home: Path) -> tuple[list[str], str]:
    "Each panel of the playground: its labels, Speak and Save from the keyboard, and its sound."
    faults, panels = [], tab.js(f"{PANEL}.length")
    abouts = [] if panels else ["no panel"]
    for i in range(panels):
        tab.js(f"""(() => {{ const p = {PANEL}[{i}]; window.panel = p; window.looks = new Set();
            new MutationObserver(() => p.querySelectorAll('img').forEach(
              m => window.looks.add(m.src))).observe(p, {{subtree: true, childList: true}});
            p.querySelectorAll('audio').forEach(a => a.remove());  // what the cells made
            p.scrollIntoView(); p.querySelector('input, select').focus(); }})()""")
        faults += [f"panel {i}: has no name: {f}" for f in tab.js(f"({UNNAMED})(window.panel)")]
        for name in ("Speak", "Save"):
            for _ in range(30):  # from field to field
                if tab.js(FOCUS) == name:
                    break
                tab.press("Tab")
            if tab.js(FOCUS) != name:
                faults.append(f"panel {i}: {name} is not reached by Tab")
                break
            tab.press(" ")
            sign = "audio" if name == "Speak" else "[role=status]"
            done = "made in" if name == "Speak" else "Saved "
            if not tab.until(f"panel.querySelector('{sign}') && panel.textContent.includes("
                             f"'{done}')", 120):
                faults.append(f"panel {i}: {name} does nothing: "
                              + tab.js("panel.innerText")[-300:])
                break
            tab.until("[...panel.querySelectorAll('button')].every(b => !b.disabled)")
        sounds = tab.js(SOUNDS.replace("document.querySelectorAll", "panel.querySelectorAll"))
        looks, text = tab.js("window.looks.size"), tab.js("panel.querySelector('[role]').innerText")
        faults += [f"panel {i}: nothing to be heard: {s}" for s in sounds or [{}]
                   if not s.get("rms", 0) > 1e-3 or not s.get("label")]
        faults += [] if looks > 2 else [f"panel {i}: the Mel is shown {looks} times only"]
        rms = sounds[0]["rms"] if sounds else float("nan")
        abouts.append(f"RMS {rms:.3f}, {looks} looks at the Mel ({text})")
    kept = sorted(p.suffix for p in (home / "data" / "playground").glob("*"))
    faults += [] if kept[:3] == [".json", ".npy", ".wav"] or len(kept) >= 3 else [
        f"Save left {kept}"]
    return faults + ([] if panels else ["there is no panel on the page"]), "; ".join(abouts)


CHECKS: dict[str, Callable[[Tab, Path], tuple[list[str], str]]] = {
    "05_cross_corpus": check_chapter, "03_playground": check_playground}


def shoot(tab: Tab, path: Path) -> None:
    "A picture of what is on the screen."
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = tab.send("Page.captureScreenshot", format="png")["data"]
    path.write_bytes(base64.b64decode(picture))


def main() -> int:
    "Run the notebooks in JupyterLab; the number that pass and fail comes last."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"default: {', '.join(CHECKS)}")
    parser.add_argument("--shots", type=Path, help="folder for a picture of each page")
    args = parser.parse_args()
    missing = [m for m in ("jupyterlab", "ipywidgets", "websocket")
               if not importlib.util.find_spec(m)]
    if missing or not chromium():
        what = " and ".join(missing) or f"a browser (looked for {', '.join(NAMES)})"
        print(f"skipped: {what} is not here")
        print("0 passed, 0 failed")
        return 0
    failed, names = 0, args.names or list(CHECKS)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as tmp:
        home, notebooks = Path(tmp) / "home", Path(tmp) / "notebooks"
        home.mkdir()
        notebooks.mkdir()
        for name in names:
            copy_notebook(name, notebooks)
        with laboratory(notebooks, home) as address:
            for name in names:
                start = time.monotonic()
                with browser("--window-size=1200,1000") as tab:
                    faults = run_all(tab, address.replace("NAME", name))
                    found, about = CHECKS[name](tab, home) if not faults else ([], "")
                    faults += [*found, *console(tab)]
                    if args.shots:
                        shoot(tab, args.shots / f"{name}.png")
                print(f"{'FAIL' if faults else '  ok'}  {name} in JupyterLab: "
                      f"{time.monotonic() - start:.0f} s, {about}")
                print("".join(f"      {fault}\n" for fault in faults), end="", flush=True)
                failed += bool(faults)
    print(f"{len(names) - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
