"""The pages about faults are those of their files."""

from pathlib import Path

import pytest

from equipoise.core.errors import RecipeError
from equipoise.doctor.faults import FAULTS
from equipoise.doctor.pages import fault_named, pages

FOLDER = Path(__file__).parents[2] / "docs" / "faults"


def test_every_fault_has_its_page_and_no_other_is_there():
    written = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.md")}
    assert written == pages(), "run: equipoise faults --pages docs/faults"


def test_a_fault_is_found_by_its_name():
    assert fault_named("mode-collapse").title == "Mode collapse"
    with pytest.raises(RecipeError, match="mode-collapse"):
        fault_named("mode-colapse")
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) == 15
