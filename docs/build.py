"""The documentation as a folder of plain HTML: chapters with their outputs, API tables, search.

    python docs/build.py [FOLDER]      (default: _docs)

Reads the notebooks as they are and the modules they export; runs nothing, needs no network, and
what it writes needs none either. A link that leads nowhere is an error.
"""
import ast
import base64
import configparser
import html
import io
import json
import posixpath
import re
import shutil
import sys
import tokenize
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import matplotlib
from fontTools import subset
from fontTools.ttLib import TTFont
from latex2mathml.converter import convert
from nbconvert.filters import ansi2html
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
INI = configparser.ConfigParser(delimiters=["="])
INI.read(ROOT / "settings.ini", encoding="utf-8")
CFG = INI["DEFAULT"]


@dataclass
class Page:
    "One page: where it comes from, where it goes, what is on it."
    source: str  # path in the repository, with slashes
    url: str  # file name in the site
    group: str  # heading in the sidebar
    title: str = ""
    body: str = ""
    sections: list[list[str]] = field(default_factory=list)  # anchor, heading, plain text


def pages() -> dict[str, Page]:
    "All pages by source, in reading order."
    found = [("README.md", "index.html", "Start"), ("docs/install.md", "install.html", "Start"),
             ("docs/audit_judge.md", "audit_judge.html", "Start"),
             ("docs/listen.md", "listen.html", "Start"),
             ("nbs/10_app/04___init__.ipynb", "python.html", "Start")]
    nbs = ROOT / "nbs"
    found += [(f"nbs/{p.name}", f"{p.stem}.html", "The paper, run and explained")
              for p in sorted(nbs.glob("*.ipynb"))]
    for folder in sorted(p for p in nbs.iterdir() if p.is_dir() and not p.name.startswith(".")):
        group = "Method: " + folder.name.split("_", 1)[1]
        found += [(f"nbs/{folder.name}/{p.name}", f"{folder.name}_{p.stem}.html", group)
                  for p in sorted(folder.glob("*.ipynb")) if not p.stem.endswith("__")]
    for path in sorted((ROOT / "figures").glob("*/RESULTS.md")):
        if path.parent.name != "smoke":
            found.append((f"figures/{path.parent.name}/RESULTS.md",
                          f"results_{path.parent.name}.html", "Results"))
    found += [("api", "api.html", "Reference"), ("data/README.md", "data.html", "Reference"),
              ("docs/machines.md", "machines.html", "Reference"),
              ("CONTRIBUTING.md", "contributing.html", "Reference"),
              ("CHANGELOG.md", "changelog.html", "Reference")]
    return {source: Page(source, url, group) for source, url, group in found}


class Site:
    "The pages and the files they ask for."

    def __init__(self, out: Path):
        self.out, self.pages, self.files = out, pages(), set[str]()
        self.api = api_addresses(self)

    def link(self, page: Page, url: str) -> str:
        "A link of a source file as a link of the site."
        path, hash_, anchor = url.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return url
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page.source), unquote(path)))
        if target in self.pages:
            return self.pages[target].url + hash_ + anchor
        if not (ROOT / target).exists():
            raise SystemExit(f"docs: {page.source} links to {url}, which is not there")
        if Path(target).suffix in (".png", ".html", ".pdf", ".csv", ".mp3"):
            self.files.add(target)
            return f"files/{target}"
        return f"{CFG['git_url']}/blob/{CFG['branch']}/{target}"


def mathml(body: str, display: str = "inline") -> str:
    "A formula as MathML; script letters as Unicode, for browsers ignore mathvariant."
    body = re.sub(r"\\(mathcal|mathbb|mathscr)\s+([A-Za-z])", r"\\\1{\2}", body)
    return convert(body, display=display)


class Renderer(IPythonRenderer):
    "Markdown with formulas as MathML, links into the site, and sections for the search."

    def __init__(self, site: Site, page: Page):
        super().__init__(escape=False)
        self.site, self.page = site, page

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        "A heading with its anchor, Jupyter's."
        plain = html.unescape(re.sub("<[^>]+>", "", text))
        anchor = plain.replace(" ", "-")
        if level == 1 and not self.page.title:
            self.page.title = plain
        self.page.sections.append([anchor, plain, ""])
        anchor = html.escape(anchor, quote=True)
        mark = f'<a class="mark" href="#{anchor}" aria-label="Link to this section">#</a>'
        return f'<h{level} id="{anchor}">{text} {mark}</h{level}>\n'

    def paragraph(self, text: str) -> str:
        "A paragraph; its words go to the search."
        self.note(text)
        return super().paragraph(text)

    def note(self, text: str) -> None:
        "Remember words for the search."
        if self.page.sections:
            text = re.sub(r"<math.*?</math>|<[^>]+>", " ", text, flags=re.S)
            self.page.sections[-1][2] += " " + html.unescape(text)

    def block_text(self, text: str) -> str:
        "Text in a list."
        self.note(text)
        return super().block_text(text)

    def codespan(self, text: str) -> str:
        "Code in a line; a public name leads to its table."
        shown = f"<code>{html.escape(html.unescape(text))}</code>"
        address = self.site.api.get(re.sub(r"\(.*\)$", "", html.unescape(text)))
        return f'<a class="name" href="{address}">{shown}</a>' if address else shown

    def inline_math(self, body: str) -> str:
        "A formula in a line."
        return mathml(body)

    def block_math(self, body: str) -> str:
        "A formula on its own, with its number."
        tag = re.search(r"\\tag\{(.+?)\}", body)
        formula = mathml(body.replace(tag[0], "") if tag else body, display="block")
        number = f'<span class="tag">({html.escape(tag[1])})</span>' if tag else ""
        return f'<div class="formula">{formula}{number}</div>'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        "A link."
        return super().link(text, self.site.link(self.page, url), title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        "A picture; where its text is a mere name, the words before it say what it shows."
        if len(text) < 25 and self.page.sections:
            _, heading, before = self.page.sections[-1]
            text = f"{text}, a figure of {self.page.title}: {heading}. {before.strip()[-300:]}"
        return super().image(text, self.site.link(self.page, url), title)


def markdown(text: str, site: Site, page: Page) -> str:
    "Markdown as HTML; links in raw HTML are followed too."
    made = MarkdownWithMath(renderer=Renderer(site, page)).render(text)
    return re.sub(r'(<(?:img|a|audio)\b[^>]*?\b(?:src|href)=")(?![a-z]+:|#|files/)([^"]+)(")',
                  lambda m: m[0] if m[2].split("#")[0] in {p.url for p in site.pages.values()}
                  else m[1] + site.link(page, m[2]) + m[3], made)


def plain(text: str) -> str:
    "Markdown as plain words: no formulas, links or marks."
    text = re.sub(r"\$\$.*?\$\$|```.*?```", " ", text, flags=re.S)
    text = re.sub(r"^[#>|].*$|<[^>]+>", " ", text, flags=re.M)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\$([^$]*)\$", lambda m: re.sub(r"[\\{}]", "", m[1]), text)
    return " ".join(re.sub(r"[*`]", "", text).split())


def drawn(source: str) -> list[str]:
    "What a cell writes into a picture: titles, and the names of axes and curves."
    try:
        calls = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call)]
    except SyntaxError:  # a magic
        return []
    words = []
    for call in calls:
        name = getattr(call.func, "attr", "")
        named = [k.value for k in call.keywords if k.arg in ("title", "xlabel", "ylabel", "label")]
        if name in ("set_title", "set_xlabel", "set_ylabel", "suptitle", "colorbar"):
            named += call.args[:1]
        words += [v.value for v in named if isinstance(v, ast.Constant)]
    return list(dict.fromkeys(w for w in words if isinstance(w, str) and w))


def picture_text(source: str, before: str, page: Page) -> str:
    "What a picture shows, for those who do not see it: the words before it and in it."
    said = re.match(r"(.{40,240}?[.:!?])(?= [A-Z`']|$)|.{0,240}", plain(before))
    heading = page.sections[-1][1] if page.sections else page.title
    parts = [heading, said[0] if said else "", "; ".join(drawn(source))]
    return "Figure. " + " ".join(p.rstrip(". ") + "." for p in parts if p)


def output(out: dict[str, Any], site: Site, page: Page, about: str = "") -> str:
    "One output of a cell, in its richest form; `about` describes a picture."
    if out["output_type"] == "stream":
        return f'<pre class="out">{ansi2html("".join(out["text"]))}</pre>'
    if out["output_type"] == "error":
        return f'<pre class="out error">{ansi2html(chr(10).join(out["traceback"]))}</pre>'
    data = {k: "".join(v) if isinstance(v, list) else v for k, v in out["data"].items()}
    if "image/png" in data:
        about = html.escape(about, quote=True)
        picture = data["image/png"].replace("\n", "")
        return f'<img class="out" alt="{about}" src="data:image/png;base64,{picture}">'
    if "text/html" in data:
        return f'<div class="out wide">{data["text/html"]}</div>'
    if "text/markdown" in data:
        return f'<div class="out wide">{markdown(data["text/markdown"], site, page)}</div>'
    return f'<pre class="out">{ansi2html(data.get("text/plain", ""))}</pre>'


def module_made(page: Page) -> str:
    "The module that a method notebook makes, e.g. 'generator.diffusion'; '' for a chapter."
    if page.source.endswith("__.ipynb"):
        return ""
    parts = Path(page.source).with_suffix("").parts[1:]
    return ".".join(p.split("_", 1)[1] for p in parts) if len(parts) == 2 else ""


def known_names(cells: list[dict[str, Any]], page: Page, site: Site) -> dict[str, str]:
    "The addresses of the public names that a notebook imports or makes."
    found = {name for name in site.api if site.api[name].startswith(f"{page.url}#")}
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and "emodiff" in source:
            source = re.sub(r"^[%!].*$", "", source, flags=re.M)
            found |= {a.name for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom)
                      and (n.module or "").startswith("emodiff") for a in n.names}
    return {name: site.api[name] for name in found & set(site.api)}


def code(source: str, page: Page, names: dict[str, str]) -> str:
    "A code cell; directives become a word about it, hidden cells nothing."
    directives = re.findall(r"^#\| *(.+)$", source, re.M)
    if any(d.startswith(("hide", "default_exp")) for d in directives):
        return ""
    source = re.sub(r"^#\| *.+\n?", "", source, flags=re.M).strip("\n")
    about = ""
    if any(d.startswith("export") for d in directives):
        about = f'<p class="about">in <code>emodiff.{module_made(page)}</code></p>'
    made = highlight(source, PythonLexer(), HtmlFormatter(cssclass="code"))
    # a name, but no attribute: not what stands behind a dot
    made = re.sub(r'(?<!<span class="o">\.</span>)<span class="n">(\w+)</span>',
                  lambda m: (f'<a class="n" href="{names[m[1]]}">{m[1]}</a>' if m[1] in names
                             else m[0]), made)
    return about + made.replace("<pre>", '<pre tabindex="0">', 1)


def notebook(page: Page, site: Site) -> str:
    "A notebook's cells."
    cells = json.loads((ROOT / page.source).read_text("utf-8"))["cells"]
    parts, before, names = [], "", known_names(cells, page, site)
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(markdown(source, site, page))
            before = source
        elif cell["cell_type"] == "code" and (shown := code(source, page, names)):
            about = picture_text(source, before, page)
            parts += [shown, *(output(o, site, page, about) for o in cell["outputs"])]
    parts.insert(1, doors(page))
    return "\n".join(parts)


def doors(page: Page) -> str:
    "Where a notebook's file is, and where it can be run."
    user, repo, branch = CFG["user"], CFG["repo"], CFG["branch"]
    colab = f"https://colab.research.google.com/github/{user}/{repo}/blob/{branch}/{page.source}"
    binder = f"https://mybinder.org/v2/gh/{user}/{repo}/{branch}?labpath={page.source}"
    made = f'<li><a href="{page.source}" download>Download</a></li>' + "".join(
        f'<li><a href="{html.escape(url)}">{name}</a></li>' for name, url in (
            ("Source", f"{CFG['git_url']}/blob/{branch}/{page.source}"), ("Open in Colab", colab),
            ("Open in Binder", binder)))
    return f'<ul class="doors" aria-label="This notebook">{made}</ul>'


@dataclass
class Name:
    "A public name of a module."
    name: str
    kind: str  # 'function', 'class' or 'constant'
    signature: str
    about: str
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)  # name, type, default, ...
    methods: list["Name"] = field(default_factory=list)


def comments(source: str) -> dict[int, str]:
    "The comment of each line that has one."
    found = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").strip() for t in found if t.type == tokenize.COMMENT}


def parameters(node: ast.FunctionDef, said: dict[int, str]) -> list[tuple[str, str, str, str]]:
    "Name, type, default and comment of each parameter, and of what is returned."
    a = node.args
    plain = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(plain) - len(a.defaults)) + list(a.defaults)
    every = [("", p, d) for p, d in zip(plain, defaults, strict=True)]
    every += [("*", a.vararg, None)] if a.vararg else []
    every += [("", p, d) for p, d in zip(a.kwonlyargs, a.kw_defaults, strict=True)]
    every += [("**", a.kwarg, None)] if a.kwarg else []
    lines = [p.lineno for _, p, _ in every]
    rows = []
    for star, p, default in every:
        if p.arg in ("self", "cls"):
            continue
        comment = said.get(p.lineno, "") if lines.count(p.lineno) == 1 else ""
        rows.append((star + p.arg, ast.unparse(p.annotation) if p.annotation else "",
                     ast.unparse(default) if default else "", comment))
    if node.returns and ast.unparse(node.returns) != "None":
        comment = said.get(node.returns.end_lineno or 0, "")
        comment = "" if node.returns.end_lineno in lines and len(lines) > 1 else comment
        rows.append(("returns", ast.unparse(node.returns), "", comment))
    return rows


def described(node: Any, said: dict[int, str], owner: str = "") -> Name:
    "A function or class as the reference shows it."
    about = ast.get_docstring(node) or ""
    if isinstance(node, ast.ClassDef):
        made = Name(node.name, "class", node.name, about)
        for inner in node.body:
            if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
                default = ast.unparse(inner.value) if inner.value else ""
                made.rows.append((inner.target.id, ast.unparse(inner.annotation), default,
                                  said.get(inner.end_lineno or 0, "")))
            elif isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
                made.rows += [r for r in parameters(inner, said) if r[0] != "returns"]
            elif isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                made.methods.append(described(inner, said, node.name))
        return made
    rows = parameters(node, said)
    given = ", ".join(r[0] + (f"={r[2]}" if r[2] else "") for r in rows if r[0] != "returns")
    return Name(f"{owner}.{node.name}" if owner else node.name, "function",
                f"{node.name}({given})", about, rows)


def module_file(module: str) -> Path:
    "Where a module's code is."
    return ROOT / "emodiff" / f"{module.replace('.', '/')}.py"


def module_names(module: str) -> list[Name]:
    "The public names of a module, in its own order."
    source = module_file(module).read_text("utf-8")
    tree, said = ast.parse(source), comments(source)
    return [described(node, said) for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")]


def prose(text: str) -> str:
    "A docstring or comment as HTML."
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text))


def linked(text: str, api: dict[str, str]) -> str:
    "A type or a default as HTML; public names lead to their tables."
    return re.sub(r"\b[A-Za-z_]\w*\b", lambda m: f'<a href="{api[m[0]]}">{m[0]}</a>' if m[0] in api
                  else m[0], html.escape(text, quote=False))


def name_html(name: Name, api: dict[str, str], level: int = 3) -> str:
    "A name with its table."
    e, id_ = html.escape, html.escape(name.name, quote=True)
    kind = "class " if name.kind == "class" else ""
    parts = [f'<h{level} id="{id_}" class="name"><code>{kind}{e(name.signature)}</code></h{level}>',
             f"<p>{prose(name.about)}</p>"]
    if name.rows:
        cells = "".join(f"<tr><th scope=row><code>{e(n)}</code></th>"
                        f"<td><code>{linked(t, api)}</code></td>"
                        f"<td>{f'<code>{e(d)}</code>' if d else ''}</td><td>{prose(c)}</td></tr>"
                        for n, t, d, c in name.rows)
        parts.append('<div class="wide"><table class="api"><thead><tr><th>name</th><th>type</th>'
                     "<th>default</th><th>what</th></tr></thead>"
                     f"<tbody>{cells}</tbody></table></div>")
    return "\n".join([*parts, *(name_html(m, api, level + 1) for m in name.methods)])


def modules(site: Site) -> dict[str, Page]:
    "The page that each module is made in."
    made = {module_made(p): p for p in site.pages.values() if p.source.startswith("nbs/")}
    return {module: page for module, page in made.items()
            if module and module_file(module).exists()}


def api_addresses(site: Site) -> dict[str, str]:
    "Where each public name's table is; public names belong to one module each."
    return {n.name: f"{made.url}#{n.name}" for module, made in modules(site).items()
            for n in module_names(module)}


def reference(site: Site) -> None:
    "The API tables: one below each method notebook, and the list of all names."
    page = site.pages["api"]
    page.title, parts = "All names", ["<h1>All names</h1><p>Every public name of "
                                      "<code>emodiff</code>, by module.</p>"]
    for module, made in modules(site).items():
        names = module_names(module)
        made.body += (f'<h2 id="API">emodiff.{module} <a class="mark" href="#API" aria-label='
                      '"Link to this section">#</a></h2>')
        made.body += "".join(name_html(name, site.api) for name in names)
        made.sections.append(["API", f"emodiff.{module}", ""])
        made.sections += [[n.name, n.name, f"{n.about} {' '.join(r[3] for r in n.rows)}"]
                          for name in names for n in (name, *name.methods)]
        rows = "".join(f'<tr><td><a href="{made.url}#{n.name}"><code>{n.name}</code></a></td>'
                       f"<td>{prose(n.about)}</td></tr>" for n in names)
        parts.append(f'<h2 id="{module}"><a href="{made.url}">emodiff.{module}</a></h2>'
                     f'<div class="wide"><table class="api">{rows}</table></div>')
    page.body = "".join(parts)
    page.sections.append(["", "All names", "API reference"])


def sidebar(site: Site, here: Page) -> str:
    "The list of pages, in reading order, with the sections of the one that is open."
    parts, group = [], ""
    for page in site.pages.values():
        if page.group != group:
            parts.append(("</ul>" if group else "") + f"<h2>{html.escape(page.group)}</h2><ul>")
            group = page.group
        number = page.group != "Start" and re.search(r"(\d+)_[^/]*\.ipynb$", page.source)
        chapter = ' class="chapter"' if number and page.source.count("/") == 1 else ""
        label = f"<span>{number[1] if number else ''}</span> {html.escape(page.title)}"
        current = ' aria-current="page"' if page is here else ""
        parts.append(f'<li{chapter}><a href="{page.url}"{current}>{label}</a>')
        inner = re.findall(r'<h2 id="([^"]+)">(.*?) <a class="mark"', here.body, re.S)
        if page is here and inner:
            parts.append('<ul class="inner">' + "".join(
                f'<li><a href="#{a}">{re.sub("<[^>]+>", "", t)}</a></li>' for a, t in inner)
                + "</ul>")
        parts.append("</li>")
    return "".join(parts) + "</ul>"


def whole(site: Site, page: Page) -> str:
    "A page with its frame."
    order = [p for p in site.pages.values()]
    i = order.index(page)
    around = [f'<a rel="{rel}" href="{p.url}">{word}: {html.escape(p.title)}</a>'
              for rel, word, p in (("prev", "Before", order[i - 1] if i else None),
                                   ("next", "Next", order[i + 1] if i + 1 < len(order) else None))
              if p]
    frame = (HERE / "page.html").read_text("utf-8")
    source = page.source if page.source != "api" else "nbs"
    source = f"{CFG['git_url']}/blob/{CFG['branch']}/{source}"
    values = {"title": html.escape(page.title), "body": page.body, "sidebar": sidebar(site, page),
              "around": "".join(around), "source": source,
              "version": CFG["version"], "copyright": CFG["copyright"]}
    for name, value in values.items():
        frame = frame.replace("{{" + name + "}}", value)
    return frame


def letter_font(letters: set[str]) -> str:
    "A font with the script and double-struck letters of the formulas: few systems have one."
    font = TTFont(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "STIXGeneral.ttf")
    cutter = subset.Subsetter(subset.Options(drop_tables=["FFTM"]))
    cutter.populate(unicodes=[ord(c) for c in letters])
    cutter.subset(font)
    font.flavor, made = "woff", io.BytesIO()
    font.save(made)
    return ('@font-face { font-family: "math letters"; src: url(data:font/woff;base64,'
            f'{base64.b64encode(made.getvalue()).decode()}); unicode-range: U+1D400-1D7FF; }}\n')


def styles(letters: set[str]) -> str:
    "The style sheet: code in light and dark colours, and the letters of formulas."
    light = HtmlFormatter(style="default").get_style_defs(":root .code")
    dark = HtmlFormatter(style="github-dark").get_style_defs(":root[data-theme=dark] .code")
    return "\n".join([letter_font(letters) if letters else "",
                      (HERE / "style.css").read_text("utf-8"), light, dark, ""])


class Links(HTMLParser):
    "The links and the named places of a page."

    def __init__(self, text: str):
        super().__init__()
        self.urls, self.ids = set[str](), set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        "Note what a tag links to and how it is called."
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.urls.add(value)
            elif name == "id" and value:
                self.ids.add(value)


def check_links(out: Path) -> list[str]:
    "Links between pages that lead nowhere."
    found = {p.name: Links(p.read_text("utf-8")) for p in out.glob("*.html")}
    faults = []
    for name, links in found.items():
        for url in links.urls:
            path, _, anchor = url.partition("#")
            if re.match(r"[a-z]+:|//", path):
                continue
            target = path or name
            if not (out / unquote(target)).exists():
                faults.append(f"{name} links to {url}, which is not there")
            elif anchor and target in found and unquote(anchor) not in found[target].ids:
                faults.append(f"{name} links to {url}, and there is no such section")
    return sorted(faults)


def build(out: Path) -> int:  # how many pages
    "Write the site."
    site = Site(out)
    for page in site.pages.values():
        if page.source.endswith(".ipynb"):
            page.body = notebook(page, site)
        elif page.source.endswith(".md"):
            page.body = markdown((ROOT / page.source).read_text("utf-8"), site, page)
    reference(site)
    if out.exists():
        if not (out / "search.js").exists():
            raise SystemExit(f"docs: {out} is there and is no site; name another folder")
        shutil.rmtree(out)
    out.mkdir(parents=True)
    for page in site.pages.values():
        (out / page.url).write_text(whole(site, page), "utf-8")
    for name in site.files:
        (out / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, out / "files" / name)
    for page in site.pages.values():
        if page.source.endswith(".ipynb"):
            (out / page.source).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / page.source, out / page.source)
    letters = {c for page in site.pages.values() for c in html.unescape(page.body)
               if 0x1D400 <= ord(c) < 0x1D800}
    (out / "style.css").write_text(styles(letters), "utf-8")
    index = [[f"{p.url}#{a}" if a else p.url, p.title, heading, " ".join(text.split())]
             for p in site.pages.values() for a, heading, text in p.sections]
    shutil.copyfile(HERE / "theme.js", out / "theme.js")
    (out / "search.js").write_text("const INDEX = " + json.dumps(index, ensure_ascii=False) + ";\n"
                                   + (HERE / "search.js").read_text("utf-8"), "utf-8")
    if faults := check_links(out):
        raise SystemExit("docs: " + "\ndocs: ".join(faults))
    return len(site.pages)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "_docs")
    print(f"{build(folder)} pages in {folder.name}: open {folder.name}/index.html")
