// INDEX: [address, page, heading, text] of every section; every word must occur, headings first
const box = document.getElementById("search"), found = document.getElementById("found");
const lower = INDEX.map(([, page, heading, text]) => [page, heading, text].map(s => s.toLowerCase()));

function rank(words) {
  const hits = [];
  lower.forEach(([page, heading, text], i) => {
    let score = 0;
    for (const word of words) {
      const count = text.split(word).length - 1;
      const here = 40 * (heading === word) + 12 * heading.includes(word) + 4 * page.includes(word)
        + Math.min(count, 5);
      if (!here) return;
      score += here;
    }
    hits.push([score, i]);
  });
  return hits.sort((a, b) => b[0] - a[0] || a[1] - b[1]).slice(0, 12).map(([, i]) => i);
}

function snippet(i, word) {
  const text = INDEX[i][3], at = lower[i][2].indexOf(word), start = Math.max(0, at - 50);
  return (start ? "… " : "") + text.slice(start, start + 150) + (text.length > start + 150 ? " …" : "");
}

function search() {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
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
