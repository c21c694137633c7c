// light or dark: the reader's last choice, else the system's; set before the page is drawn
const KEY = "emodiff-theme", root = document.documentElement;
const system = () => matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
const stored = () => { try { return localStorage.getItem(KEY); } catch { return null; } };

function paint(theme) {
  root.dataset.theme = theme;
  const button = document.getElementById("theme");
  if (button) {
    button.textContent = theme === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to the ${theme === "dark" ? "light" : "dark"} theme`);
  }
}

paint(stored() || system());
addEventListener("DOMContentLoaded", () => {
  paint(root.dataset.theme);
  document.getElementById("theme").addEventListener("click", () => {
    const theme = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem(KEY, theme); } catch { /* a page that may not store */ }
    paint(theme);
  });
  for (const pre of document.querySelectorAll("main .code pre, main > pre:not(.out)")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await copy(pre.innerText);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    const box = document.createElement("div");
    box.className = "copybox";
    pre.replaceWith(box);
    box.append(pre, button);
  }
});

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // a file: page has no clipboard
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}
