import re
from pathlib import Path

import pytest

from equipoise.cli import main
from equipoise.core.errors import RecipeError
from equipoise.engine.optimizers import RULES
from equipoise.runs.catalogue import entries, found, markdown
from equipoise.runs.parts import LOSSES, PENALTIES, Examples
from equipoise.runs.recipe import Recipe, parse_setting, with_settings
from equipoise.runs.techniques import Techniques

ENTRIES = entries()
SETTABLE = [entry for entry in ENTRIES if "(" not in entry.setting]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_technique_says_formula_default_cost_and_source(entry):
    lines = entry.about.splitlines()
    assert entry.summary.endswith(".")
    assert len(lines) > 3
    for fact in ("Default:", "Cost:", "Source:"):
        assert sum(line.startswith(fact) for line in lines) == 1, fact


@pytest.mark.parametrize("entry", SETTABLE, ids=lambda entry: entry.name)
def test_every_technique_is_chosen_by_the_setting_that_is_shown(entry):
    key, value = parse_setting(entry.setting.replace("WEIGHT", "0.1"))
    settings = {"game.network.kind": "dcgan", "game.network.width": 2, "players": {"D": {}, "G": {}}, key: value}
    settings |= dict([parse_setting(entry.beside)] if entry.beside else [])
    recipe = with_settings(Recipe(), settings)
    assert recipe != with_settings(Recipe(), {k: v for k, v in settings.items() if k != key}) or entry.name in (
        "non-saturating",  # the default
        "adam",
        "averaged-weights",
    )
    recipe.game.build(Examples("images", (1, 8, 8)))


def test_nothing_that_can_be_set_is_missing_from_the_list():
    settings = " ".join(entry.setting for entry in ENTRIES)
    for field in Techniques.model_fields:
        assert f"game.{field}" in settings, field
    names = {entry.name for entry in ENTRIES}
    assert {*LOSSES, *PENALTIES, *RULES} <= names
    assert len(names) == len(ENTRIES)


def test_the_page_of_techniques_is_made_from_the_docstrings():
    page = Path(__file__).parents[2] / "docs" / "techniques.md"
    assert page.read_text("utf-8") == markdown(), "run: equipoise techniques --markdown > docs/techniques.md"


def test_the_command_lists_and_explains(capsys):
    with pytest.raises(SystemExit) as end:
        main(["techniques"])
    assert end.value.code in (0, None)
    listed = capsys.readouterr().out
    for entry in ENTRIES:
        assert re.search(rf"^  {re.escape(entry.name)} +\S", listed, re.MULTILINE), entry.name
    with pytest.raises(SystemExit):
        main(["techniques", "packing"])
    explained = capsys.readouterr().out
    assert "PacGAN" in explained
    assert "--set game.packing=2" in explained


def test_a_misspelt_technique_is_answered_with_the_nearest(capsys):
    with pytest.raises(SystemExit) as end:
        main(["techniques", "paking"])
    assert end.value.code == 2
    assert "packing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("EMA", "averaged-weights"),
        ("InfoGAN", "mutual-information"),
        ("label_smoothing", "label-smoothing"),
        ("game.ada", "ada"),
        ("PacGAN", "packing"),
    ],
)
def test_a_technique_is_found_by_its_setting_and_by_the_papers_name_for_it(name, meant):
    assert meant in [entry.name for entry in found(name)]


def test_a_technique_in_the_wrong_table_is_answered_with_its_setting():
    with pytest.raises(RecipeError, match=r"game\.r1: unknown key.*game\.penalties\.r1"):
        with_settings(Recipe(), {"game.r1": 10})


def test_a_setting_that_a_technique_needs_beside_is_part_of_its_command(capsys):
    with pytest.raises(SystemExit):
        main(["techniques", "separate-penalties"])
    assert (
        "--set game.separate_penalties=true 'game.penalties.r1={weight = 0.5, every = 16}'" in capsys.readouterr().out
    )
