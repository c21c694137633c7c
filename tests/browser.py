"""Listening pages in a headless Chromium: every player loads, has sound, and obeys the keyboard.

    python tests/browser.py [figures/demo/samples/index.html ...]     (default: all of figures/)

Speaks the DevTools protocol to whichever Chromium or Chrome is there; without one it skips.
Ends with the line `N passed, N failed`, counting pages.
"""
import contextlib
import functools
import http.server
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--remote-debugging-port=0", "--remote-allow-origins=*", "about:blank")
KEYS = {"Tab": (9, "Tab", ""), " ": (32, "Space", " "), "Enter": (13, "Enter", "\r")}


class Tab:
    "One page of a browser, over the DevTools protocol."

    def __init__(self, url: str):
        import websocket

        self.socket = websocket.create_connection(url, timeout=60, suppress_origin=True)
        self.numbers, self.events = itertools.count(1), []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict:
        "Send one command and wait for its answer; events met on the way are kept."
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def js(self, expression: str) -> Any:
        "The value of an expression in the page; promises are waited for."
        found = self.send("Runtime.evaluate", expression=expression, awaitPromise=True,
                          returnByValue=True, userGesture=False)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"].get("exception", found)))
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = 10) -> bool:
        "Wait for an expression to become true."
        end = time.monotonic() + seconds
        asked = f"(async () => !!(await ({expression})))()"  # elements do not travel
        while not (done := self.js(asked)) and time.monotonic() < end:
            time.sleep(0.05)
        return done

    def press(self, key: str) -> None:
        "Press and release a key, as a person would."
        number, code, text = KEYS[key]
        about = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    def open(self, url: str) -> None:
        "Go to a page and wait until it has loaded."
        self.events.clear()
        self.send("Page.navigate", url=url)
        if not self.until(f"location.href === {json.dumps(url)} "
                          "&& document.readyState === 'complete'", 30):
            raise RuntimeError(f"{url} does not load")


def chromium() -> str | None:
    "The browser, if there is one."
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextlib.contextmanager
def browser(*flags: str) -> Iterator[Tab]:
    "A tab of a fresh headless browser, with a new empty profile that is removed afterwards."
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        with open(Path(profile) / "stderr.txt", "wb") as log:
            process = subprocess.Popen([chromium(), f"--user-data-dir={profile}", *FLAGS, *flags],
                                       stderr=log, stdout=log, start_new_session=True)
        try:
            port, end = Path(profile) / "DevToolsActivePort", time.monotonic() + 60
            while not (port.exists() and "\n" in port.read_text()):
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError("the browser does not start: "
                                       + (Path(profile) / "stderr.txt").read_text()[-2000:])
                time.sleep(0.05)
            address = f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json"
            tabs = json.load(urllib.request.urlopen(address, timeout=30))
            yield Tab(next(t for t in tabs if t["type"] == "page")["webSocketDebuggerUrl"])
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)  # the session that was started above
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    "The address of a folder on this machine."
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            "Nothing."

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


# the bytes of each player, decoded: seconds and root mean square
SOUNDS = """(async () => {
  const context = new OfflineAudioContext(1, 1, 22050), found = [];
  for (const a of document.querySelectorAll("audio")) {
    const bytes = Uint8Array.from(atob(a.src.split(",")[1]), c => c.charCodeAt(0));
    const sound = await context.decodeAudioData(bytes.buffer).then(
      s => s.getChannelData(0), () => [0]);  // what cannot be decoded is silent
    found.push({seconds: a.duration, ready: a.readyState, label: a.getAttribute("aria-label"),
                rms: Math.sqrt(sound.reduce((s, x) => s + x * x, 0) / sound.length)});
  }
  return found;
})()"""
HERE = "[...document.querySelectorAll('audio')].indexOf(document.activeElement)"
PICTURES = """[...document.images].filter(
  i => !(i.complete && i.naturalWidth > 100 && i.alt)).length"""


def keyboard(tab: Tab, count: int) -> list[str]:
    "Faults of the players under Tab and Space."
    faults, reached = [], set()
    tab.js("document.activeElement.blur()")
    for _ in range(count * 12):
        tab.press("Tab")
        here = tab.js(HERE)
        if here < 0 or here in reached:
            continue
        reached.add(here)
        player = f"document.querySelectorAll('audio')[{here}]"
        tab.press(" ")
        if not tab.until(f"!{player}.paused && {player}.currentTime > 0"):
            faults.append(f"player {here} does not start on Space")
        alone = tab.js("[...document.querySelectorAll('audio')].filter(a => !a.paused).length")
        if alone > 1:
            faults.append(f"{alone} players sound at once")
        tab.press(" ")
        if not tab.until(f"{player}.paused || {player}.ended"):
            faults.append(f"player {here} does not stop on Space")
        if len(reached) == count:
            break
    faults += [f"player {i} is not reached by Tab" for i in set(range(count)) - reached]
    return faults


def check_page(tab: Tab, url: str) -> tuple[list[str], str]:
    "What is wrong with a listening page, and a line about it."
    tab.open(url)
    tab.until("[...document.querySelectorAll('audio')].every(a => a.readyState > 0)")
    sounds = tab.js(SOUNDS)
    faults = [f"{s['label']}: {what}" for s in sounds for what, bad in
              (("does not load", not s["ready"] or not s["seconds"] or s["seconds"] <= 0),
               ("is silent", not s["rms"] > 1e-3), ("has no label", not s["label"])) if bad]
    if broken := tab.js(PICTURES):
        faults.append(f"{broken} pictures are not shown")
    if tab.js("document.documentElement.scrollWidth > innerWidth"):
        faults.append("the page is wider than the window")
    faults += keyboard(tab, len(sounds))
    asked = [e["params"]["request"]["url"] for e in tab.events
             if e["method"] == "Network.requestWillBeSent"]
    faults += [f"asks for {u[:80]}" for u in asked
               if not u.startswith(("data:", url)) and not u.endswith("/favicon.ico")]
    faults += [f"error in the page: {e['params']}"[:300] for e in tab.events
               if e["method"] == "Runtime.exceptionThrown"]
    quiet = min((s["rms"] for s in sounds), default=float("nan"))
    return faults, (f"{len(sounds)} players, {sum(s['seconds'] or 0 for s in sounds):.0f} s of "
                    f"sound, quietest RMS {quiet:.3f}")


def main(pages: list[str]) -> int:
    "Check the pages; the number that pass and fail comes last."
    if not chromium():
        print(f"skipped: no browser here (looked for {', '.join(NAMES)})")
        return 0
    paths = [Path(p).resolve() for p in pages] or sorted(
        (ROOT / "figures").glob("*/samples/index.html"))
    if not paths:
        print("skipped: there is no figures/*/samples/index.html; make reproduce makes one")
    failed = 0
    for path in paths:
        with served(path.parent) as address, browser("--window-size=1200,900") as tab:
            faults, about = check_page(tab, f"{address}/{path.name}")
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
        size = path.stat().st_size / 1e6
        print(f"{'FAIL' if faults else '  ok'}  {shown}: {size:.2f} MB, {about}")
        print("".join(f"      {fault}\n" for fault in faults), end="")
        failed += bool(faults)
    print(f"{len(paths) - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
