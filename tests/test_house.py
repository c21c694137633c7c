"""The rules of the house: which way imports run, what is public, how notebooks are built."""
import ast
import configparser
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, NBS = ROOT / "emodiff", ROOT / "nbs"
# whoever stands later may import from whoever stands before; studies and pages stay apart
FLOORS = ["base", "speech", "generator", "recognition", "studies", "pages", "augment", "app"]
METHOD = sorted(p for p in NBS.glob("*/*.ipynb") if ".ipynb_checkpoints" not in p.parts)
CHAPTERS = sorted(NBS.glob("*.ipynb"))
MODULES = sorted(PACKAGE.glob("*/*.py"))


def cells(path: Path) -> list[dict]:
    "A notebook's cells, their source as one string."
    found = json.loads(path.read_text("utf-8"))["cells"]
    return [{**c, "source": "".join(c["source"])} for c in found]


def module_of(path: Path) -> str:
    "The module that a notebook makes, e.g. 'generator.diffusion'."
    return next(re.search(r"^#\|\s*default_exp (\S+)", c["source"], re.M)[1]  # type: ignore[index]
                for c in cells(path) if "default_exp" in c["source"])


ORDER = {module_of(p): i for i, p in enumerate(METHOD)}


def imports(path: Path) -> list[tuple[str, list[str]]]:
    "The emodiff modules that a module imports, wherever in it, and the names it takes from them."
    here = path.relative_to(PACKAGE).with_suffix("").parts
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        parts = tuple((node.module or "").split(".")) if node.module else ()
        if node.level:
            parts = here[:len(here) - node.level] + parts
        elif parts[:1] == ("emodiff",):
            parts = parts[1:]
        else:
            continue
        found.append((".".join(parts), [a.name for a in node.names]))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_run_downwards(path: Path) -> None:
    "A module knows lower floors only, and in its own folder the notebooks before its own."
    if path.name == "__init__.py":
        return
    mine = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for module, names in imports(path):
        folder, other = mine.split(".")[0], module.split(".")[0]
        if not other:  # the package's own version
            continue
        assert FLOORS.index(other) <= FLOORS.index(folder), f"{mine} imports {module}"
        assert {folder, other} != {"studies", "pages"}, f"{mine} imports {module}"
        if folder == other and module != mine:
            assert ORDER[module] < ORDER[mine], f"{mine} imports {module}, which comes later"
        private = [n for n in names if n.startswith("_") and not n.startswith("__")]
        assert module == mine or not private, f"{mine} takes {private} from {module}"


def test_no_name_is_public_twice() -> None:
    "A public name belongs to one module."
    owner: dict[str, str] = {}
    for path in MODULES:
        found = re.search(r"^__all__ = (\[.*?\])", path.read_text("utf-8"), re.M | re.S)
        for name in ast.literal_eval(found[1]) if found else []:
            mine = path.relative_to(PACKAGE).as_posix()
            assert name not in owner, f"{name} is public in {owner[name]} and in {mine}"
            owner[name] = mine


@pytest.mark.parametrize("path", METHOD, ids=lambda p: p.relative_to(NBS).as_posix())
def test_one_definition_per_exported_cell(path: Path) -> None:
    "And no exported cell is longer than a thought."
    for cell in cells(path):
        source = cell["source"]
        if cell["cell_type"] != "code" or not re.match(r"#\|\s*export", source):
            continue
        made = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        assert len(made) <= 1, f"one cell defines {[n.name for n in made]}"
        lines = [x for x in source.splitlines() if x.strip() and not x.startswith("#|")]
        imported = all(isinstance(n, ast.Import | ast.ImportFrom) for n in ast.parse(source).body)
        assert imported or len(lines) <= 60, f"{len(lines)} lines in the cell of {made[0].name}"


def test_the_rhythm() -> None:
    "Short cells, and a look or an assert after at least half of them."
    lengths, looked, longest = [], [], 0
    for path in METHOD:
        run, code = 0, [c for c in cells(path) if c["cell_type"] == "code" and c["source"].strip()]
        for i, cell in enumerate(code):
            exported = bool(re.match(r"#\|\s*export", cell["source"]))
            only = exported and all(isinstance(n, ast.Import | ast.ImportFrom)
                                    for n in ast.parse(cell["source"]).body)
            if not exported or only:
                run = 0
                continue
            lines = cell["source"].splitlines()
            lengths.append(sum(bool(x.strip()) and not x.startswith("#|") for x in lines))
            after = code[i + 1]["source"] if i + 1 < len(code) else "#| export"
            looked.append(not re.match(r"#\|\s*export", after))
            run += 1
            longest = max(longest, run)
    assert statistics.median(lengths) <= 14
    assert statistics.mean(looked) >= 0.5
    assert longest <= 5


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.name)
def test_chapters_are_short_to_open(path: Path) -> None:
    "One import cell of at most ten lines, then the parameters; no function over three lines."
    code = [c for c in cells(path) if c["cell_type"] == "code"]
    assert len(code[0]["source"].splitlines()) <= 10
    assert "parameters" in code[1]["metadata"].get("tags", [])
    for cell in code:
        for node in ast.walk(ast.parse(re.sub(r"^[%!].*$", "", cell["source"], flags=re.M))):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 3, f"{node.name} is too long"


def test_every_public_function_says_what_it_does() -> None:
    "A docstring for whatever has no underscore."
    for path in MODULES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"


def test_readme_can_be_read_in_minutes() -> None:
    "At most 10 kB and 20 lines of tables, and every link leads somewhere."
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.encode()) <= 10_000
    assert sum(line.startswith("|") for line in text.splitlines()) <= 20
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (ROOT / link).exists(), f"README.md links to {link}, which is not there"


def test_nothing_of_one_machine_is_in_the_notebooks() -> None:
    "No absolute paths of somebody's disk, in sources or in outputs."
    for path in [*METHOD, *CHAPTERS]:
        text = path.read_text("utf-8")
        found = re.search(r"/(?:home|root|work|Users|private|tmp)/[\w.-]+", text)
        assert found is None, f"{path.name} holds the path {found[0]}"


def test_settings_keep_the_parameters_tag() -> None:
    "Without this line nbdev_clean would delete papermill's tag, and -p would be ignored."
    ini = configparser.ConfigParser(delimiters=["="])
    ini.read(ROOT / "settings.ini", encoding="utf-8")
    assert "tags" in ini["DEFAULT"]["allowed_cell_metadata_keys"]


def test_figures_are_small() -> None:
    "What git tracks below figures/: tables, pictures of at most 300 kB, predictions, one page."
    done = subprocess.run(["git", "ls-files", "figures"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("this is no git checkout")
    for name in done.stdout.split():
        path = ROOT / name
        kind = path.suffix
        known = kind in (".csv", ".md", ".png") or path.name in ("predictions.npz", "run.json")
        assert known or name == "figures/open/samples/index.html", name
        most = {".png": 300_000, ".npz": 6_000_000}.get(kind, path.stat().st_size)
        assert path.stat().st_size <= most, f"{name} is larger than {most} bytes"


def test_help_is_quick() -> None:
    "The command line shows its help without importing PyTorch."
    code = "import sys, emodiff.app.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
