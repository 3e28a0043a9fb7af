"""What the docs show is what runs."""

import re
from pathlib import Path

import pytest
import torch

import equipoise
from equipoise.recipes import SHIPPED

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "docs" / "examples" / "two_critics.py"
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_game_of_your_own_is_shown_whole_and_is_short():
    code = EXAMPLE.read_text("utf-8")
    assert code in (ROOT / "docs" / "your-own-game.md").read_text("utf-8")
    assert len(code.splitlines()) < 60


def test_the_game_of_your_own_trains_resumes_and_reports(tmp_path):
    settings = {"training.steps": 2, "game.width": 8, "judging.at_end": False, "watching.tensorboard": False}
    run = equipoise.train(f"{EXAMPLE}:recipe", settings=settings, folder=tmp_path / "run", quiet=True)
    equipoise.resume(run.folder, settings={"training.steps": 4}, quiet=True)
    assert run.newest_step() == 4
    assert "two-critics" in run.report().read_text("utf-8")
    assert run.sample(3).shape == (3, 1, 8, 8)


def test_the_game_of_your_own_passes_the_conformance_suite():
    recipe, _ = equipoise.load(f"{EXAMPLE}:recipe")
    equipoise.check_game(
        lambda: recipe.game.build(equipoise.Examples("noise", (1, 8, 8))),
        lambda position, size: torch.rand(size, 1, 8, 8, generator=torch.Generator().manual_seed(position)) * 2 - 1,
        sample_range=(-1, 1),
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_recipes_named_in_the_readme_exist(name):
    text = (ROOT / name).read_text("utf-8")
    for recipe in re.findall(r"equipoise train ([a-z][a-z-]+)(?: |`|$)", text):
        assert recipe in SHIPPED


def test_both_readmes_give_the_same_commands():
    english, chinese = (
        re.findall(r"```bash\n(.*?)```", (ROOT / name).read_text("utf-8"), re.DOTALL)[:2]
        for name in ("README.md", "README.zh-CN.md")
    )
    assert english == chinese
