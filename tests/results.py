"""Write the README's results, between its markers, from the committed tables in figures/."""
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLES = ["table1_mad", "table1_checks", "table2_within_corpus", "table3_cross_corpus"]
PARTS = [("open", "Real speech, preset `open`: RAVDESS within corpus, to EmoDB, with URDU"),
         ("open-URDU", "Real speech, preset `open`: RAVDESS to URDU"),
         ("open-EmoDB", "Real speech, preset `open`: EmoDB within corpus"),
         ("demo", "Stand-in speech: what `make reproduce` leaves")]


def block() -> str:
    "The tables of the runs as Markdown."
    lines: list[str] = []
    for folder, title in PARTS:
        texts = [ROOT / "figures" / folder / f"{name}.md" for name in TABLES]
        texts = [text for text in texts if text.exists()]
        if not texts:
            continue
        lines += [f"### {title}", ""]
        for text in texts:
            lines += [text.read_text("utf-8").strip(), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    before, rest = readme.read_text("utf-8").split("<!-- results -->")
    after = rest.split("<!-- /results -->")[1]
    readme.write_text(f"{before}<!-- results -->\n{block()}<!-- /results -->{after}", "utf-8")
