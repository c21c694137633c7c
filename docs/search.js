// INDEX: [address, page, heading, text] of every section; every word must occur, headings first
// a word is found in its other forms, too: cite, citing; synthesize, synthesises
const box = document.getElementById("search"), found = document.getElementById("found");
const lower = INDEX.map(([, page, heading, text]) => [page, heading, text].map(s => s.toLowerCase()));

function british(word) {
  return word.replace(/(i|y)z(e|es|ed|er|ing|ation)$/, "$1s$2").replace(/(col|behavi|fav)or/, "$1our")
    .replace(/^license/, "licence").replace(/center$/, "centre");
}

function forms(word) {
  const stem = word.replace(/(ations?|ing|ers?|ed|es|e|s)$/, "");
  const rest = stem.length > 2 && stem !== word ? `|\\b${escaped(stem)}(?:e|es|s|ed|ers?|ing|ations?)?\\b` : "";
  return new RegExp(escaped(word) + rest, "g");
}

const escaped = text => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const counted = (text, form) => (text.match(form) || []).length;

function rank(words) {
  const hits = [], wanted = words.map(forms);
  lower.forEach(([page, heading, text], i) => {
    let score = 0;
    for (const [k, word] of words.entries()) {
      const inHeading = counted(heading, wanted[k]) > 0;
      const here = 40 * (heading === word) + 12 * inHeading + 4 * (counted(page, wanted[k]) > 0)
        + Math.min(counted(text, wanted[k]), 5);
      if (!here) return;
      score += here;
    }
    hits.push([score, i]);
  });
  return hits.sort((a, b) => b[0] - a[0] || a[1] - b[1]).slice(0, 12).map(([, i]) => i);
}

function snippet(i, word) {
  const text = INDEX[i][3], at = lower[i][2].search(forms(word)), start = Math.max(0, at - 50);
  return (start ? "… " : "") + text.slice(start, start + 150) + (text.length > start + 150 ? " …" : "");
}

function search() {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean).map(british);
  found.hidden = !words.length;
  found.replaceChildren();
  if (!words.length) return;
  const hits = rank(words);
  for (const i of hits) {
    const link = document.createElement("a"), name = document.createElement("b");
    const small = document.createElement("small");
    link.href = INDEX[i][0];
    name.textContent = INDEX[i][2];
    small.textContent = INDEX[i][2] === INDEX[i][1] ? "" : INDEX[i][1];
    link.append(name, small, document.createTextNode(snippet(i, words[0])));
    found.append(link);
  }
  if (!hits.length) {
    const none = document.createElement("p");
    none.textContent = "Nothing found.";
    found.append(none);
  }
}

function move(event) {
  const links = [...found.querySelectorAll("a")], at = links.indexOf(document.activeElement);
  if (event.key === "Escape") { box.value = ""; search(); box.focus(); return; }
  if (event.key === "Enter" && document.activeElement === box && links.length) links[0].click();
  if (!["ArrowDown", "ArrowUp"].includes(event.key) || !links.length) return;
  event.preventDefault();
  const next = at + (event.key === "ArrowDown" ? 1 : -1);
  (links[next] || box).focus();
}

box.addEventListener("input", search);
box.form.addEventListener("keydown", move);
document.addEventListener("keydown", event => {
  const typing = ["INPUT", "TEXTAREA"].includes(document.activeElement.tagName);
  if (event.key === "/" && !typing) { event.preventDefault(); box.focus(); }
});
document.addEventListener("click", event => { if (!box.form.contains(event.target)) found.hidden = true; });
found.addEventListener("click", () => { found.hidden = true; });
if (matchMedia("(max-width: 60rem)").matches) document.querySelector("nav details").open = false;
