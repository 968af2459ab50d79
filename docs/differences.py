"""Writes `docs/differences.md` from `docs/differences.yaml`: `make differences`."""

from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
HEAD = """# Differences from Flexprice

tally speaks Flexprice's protocol, and its SDKs and collector work unchanged. In these places an
answer or a figure differs, each for a reason. What is marked with a milestone is a route that
answers 501 until then.
"""


def page() -> str:
    """Return the page as it should be."""
    areas: list[dict[str, Any]] = yaml.safe_load((HERE / "differences.yaml").read_text("utf-8"))
    parts = [HEAD]
    for area in areas:
        rows = ["| matter | Flexprice | tally | why |", "| --- | --- | --- | --- |"]
        for item in area["items"]:
            later = f" ({item['later']})" if "later" in item else ""
            cells = [item["matter"] + later, item["flexprice"], item["tally"], item["why"]]
            rows.append(f"| {' | '.join(cells)} |")
        parts.append(f"## {area['area']}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    (HERE / "differences.md").write_text(page(), "utf-8")
