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

PICTURES = """[...document.images].filter(i => !(i.complete && i.naturalWidth > 0
  && i.alt.length > 12)).map(i => i.src.slice(0, 80))"""
BARE = """[...document.querySelectorAll('.code pre')].filter(p => !p.parentElement.querySelector(
  'button.copy')).length"""
# a letter that is drawn in the page's own font has another width than without it
LETTERS = """(async () => {
  const wanted = new Set([...document.querySelectorAll('math')].flatMap(m => [...m.textContent])
    .filter(c => c.codePointAt(0) >= 0x1D400 && c.codePointAt(0) < 0x1D800));
  const fonts = await document.fonts.load('16px "math letters"', [...wanted].join('') || 'x');
  return wanted.size && !fonts.length ? [...wanted].join(' ') : '';
})()"""
VARIANTS = "[...document.querySelectorAll('[mathvariant]')].filter(m => " \
           "m.getAttribute('mathvariant') !== 'normal').length"
DOWNLOAD = """(async () => { const link = document.querySelector('.doors a[download]');
  return !link || (await (await fetch(link.href)).json()).nbformat === 4; })()"""
TOO_WIDE = "document.documentElement.scrollWidth > innerWidth"
RAW = "/\\\\(frac|bar|alpha|sqrt|left)/.test([...document.querySelectorAll('main p')].map(" \
      "p => p.textContent).join(' '))"


def check_page(tab: Tab, url: str) -> list[str]:
    "What is wrong with a page."
    tab.open(url)
    faults = [f"{p} is not shown, or has no text" for p in tab.js(PICTURES)]
    faults += ["is wider than the window"] * tab.js(TOO_WIDE)
    faults += ["a formula is shown as TeX"] * tab.js(RAW)
    faults += ["has code without a button that copies it"] * (tab.js(BARE) > 0)
    faults += [f"has no font for {letters}" for letters in [tab.js(LETTERS)] if letters]
    faults += ["has letters that browsers do not draw (mathvariant)"] * (tab.js(VARIANTS) > 0)
    faults += ["offers a notebook that cannot be downloaded"] * (not tab.js(DOWNLOAD))
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


def check_theme(tab: Tab, site: str) -> list[str]:
    "What is wrong with the switch between light and dark."
    tab.open(f"{site}/index.html")
    theme, back = "document.documentElement.dataset.theme", "getComputedStyle(document.body)"
    before, colour = tab.js(theme), tab.js(f"{back}.backgroundColor")
    tab.js("document.getElementById('theme').click()")
    after = tab.js(theme)
    tab.open(f"{site}/install.html")
    kept = tab.js(theme) == after and tab.js(f"{back}.backgroundColor") != colour
    tab.js("localStorage.clear()")
    return [] if {before, after} == {"light", "dark"} and kept else ["the theme does not switch"]


def check_copy(tab: Tab, site: str) -> list[str]:
    "What is wrong with the buttons that copy, and with names in code that are links."
    tab.open(f"{site}/python.html")
    tab.js("navigator.clipboard.writeText = text => { window.copied = text; }")
    tab.js("document.querySelector('button.copy').click()")
    copied = tab.until("window.copied && copied.includes('import')", 5)
    there = tab.js("[...document.querySelectorAll('.code a')].map(a => a.getAttribute('href'))")
    faults = [] if copied else ["the button copies nothing"]
    wanted = "02_generator_09_sampling.html#Generator"
    return faults + ["Generator is no link in code"] * (wanted not in there)


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
                     "classifier-free guidance": "02_generator_09_sampling.html",
                     "synthesize": "02_generator_09_sampling.html", "install": "install.html",
                     "cite": "index.html", "colab": "install.html"}
            found = {"search": [fault for words, page in pages.items()
                                for fault in check_search(tab, site, words, page)],
                     "theme": check_theme(tab, site), "copy": check_copy(tab, site)}
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
