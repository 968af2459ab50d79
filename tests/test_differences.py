"""The page of differences is made of its file, and has an entry for each mark of the specification."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from docs.differences import page

ROOT = Path(__file__).parent.parent
SPECIFICATION = ROOT.parent / "shared" / "spec"
# The sentence that says what the mark means is a mark in the text, and no difference.
EXPLAINING = {"metering.md": 1, "billing.md": 1, "wallets-alerts.md": 1, "platform.md": 1}


def test_the_page_says_what_its_file_says() -> None:
    assert (ROOT / "docs" / "differences.md").read_text("utf-8") == page(), "run `make differences`"


def test_each_mark_of_the_specification_has_an_entry() -> None:
    if not SPECIFICATION.is_dir():
        pytest.skip("the specification is not beside this project")
    areas = yaml.safe_load((ROOT / "docs" / "differences.yaml").read_text("utf-8"))
    entries: Counter[str] = Counter()
    for area in areas:
        entries[area["source"]] += len(area["items"])
    marks = {
        name: len(re.findall(r"Flexprice\s+differs", (SPECIFICATION / name).read_text("utf-8")))
        - explained
        for name, explained in EXPLAINING.items()
    }
    assert dict(entries) == marks
