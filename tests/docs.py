"""The documentation in a headless Chromium: built anew, searched by keyboard, and looked through.

    python tests/docs.py [--shots FOLDER]

Without a browser it skips. Ends with the line `N passed, N failed`, counting pages.
"""
import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from browser import ROOT, Tab, browser, chromium, served
from lab import shoot

PICTURES = """[...document.images].filter(i => !(i.complete && i.naturalWidth > 0 && i.alt)).map(
  i => i.src.slice(0, 80))"""
TOO_WIDE = "document.documentElement.scrollWidth > innerWidth"
RAW = "/\\\\(frac|bar|alpha|sqrt|left)/.test([...document.querySelectorAll('main p')].map(" \
      "p => p.textContent).join(' '))"


def check_page(tab: Tab, url: str) -> list[str]:
    "What is wrong with a page."
    tab.open(url)
    faults = [f"{p} is not shown, or has no text" for p in tab.js(PICTURES)]
    faults += ["is wider than the window"] * tab.js(TOO_WIDE)
    faults += ["a formula is shown as TeX"] * tab.js(RAW)
    faults += ["has no title or no place in the list of pages"] * (not tab.js(
        "document.querySelector('main h1') && document.querySelector('nav [aria-current]')"
        " && true"))
    site = url.rpartition("/")[0]
    faults += [f"asks for {e['params']['request']['url'][:80]}" for e in tab.events
               if e["method"] == "Network.requestWillBeSent"
               and not e["params"]["request"]["url"].startswith((site, "data:"))]
    faults += [f"error in the page: {e['params']}"[:300] for e in tab.events
               if e["method"] == "Runtime.exceptionThrown"]
    return faults


def check_search(tab: Tab, site: str, word: str, page: str) -> list[str]:
    "What is wrong with the search, used from the keyboard."
    tab.open(f"{site}/index.html")
    tab.send("Input.dispatchKeyEvent", type="keyDown", text="/", key="/")
    if not tab.until("document.activeElement.id === 'search'", 5):
        return ["/ does not go to the search"]
    tab.send("Input.insertText", text=word)
    if not tab.until("document.querySelectorAll('#found a').length > 0", 5):
        return [f"nothing is found for {word!r}"]
    tab.press("Enter")
    there = tab.until(f"location.pathname.endsWith('/{page}')", 10)
    return [] if there else [f"{word!r} leads to {tab.js('location.href')}, not to {page}"]


def main() -> int:
    "Build and check; the number of pages that pass and fail comes last."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shots", type=Path, help="folder for a picture of each page")
    args = parser.parse_args()
    if not chromium() or not importlib.util.find_spec("latex2mathml"):
        print("skipped: no browser here, or no latex2mathml to build the documentation with")
        print("0 passed, 0 failed")
        return 0
    failed = 0
    with tempfile.TemporaryDirectory() as tmp:
        out = Path(tmp) / "site"
        subprocess.run([sys.executable, str(ROOT / "docs" / "build.py"), str(out)], check=True)
        with served(out) as site, browser("--window-size=1280,1000") as tab:
            pages = {"betas_for": "02_generator_00_diffusion.html",
                     "classifier-free guidance": "02_generator_09_sampling.html"}
            found = {"search": [fault for words, page in pages.items()
                                for fault in check_search(tab, site, words, page)]}
            for path in sorted(out.glob("*.html")):
                found[path.name] = check_page(tab, f"{site}/{path.name}")
                if args.shots:
                    shoot(tab, args.shots / f"{path.stem}.png")
    for name, faults in found.items():
        print(f"{'FAIL' if faults else '  ok'}  {name}")
        print("".join(f"      {fault}\n" for fault in faults), end="")
        failed += bool(faults)
    print(f"{len(found) - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
