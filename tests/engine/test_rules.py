"""What the source must never hold: updates in games, games in the engine, pickles anywhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import equipoise
from equipoise.engine.conformance import source_problems

PACKAGE = Path(equipoise.__file__).parent
GAMES = sorted(path for path in (PACKAGE / "games").glob("*.py") if path.stem != "__init__")
ENGINE = sorted((PACKAGE / "engine").glob("*.py"))
ALL = sorted(PACKAGE.rglob("*.py"))

PICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}
EVALUATING = {"eval", "exec", "compile", "__import__"}
PICKLED_BY_TORCH = {"load", "save"}


def relative(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def dangers(module: ast.AST) -> Iterator[str]:
    """Whatever can run code that a file brings along."""
    for node in ast.walk(module):
        match node:
            case ast.Import(names=names):
                yield from (f"import {n.name}" for n in names if n.name.partition(".")[0] in PICKLING)
            case ast.ImportFrom(module=str(name)) if name.partition(".")[0] in PICKLING:
                yield f"from {name} import"
            case ast.ImportFrom(module="torch", names=names):
                yield from (f"from torch import {n.name}" for n in names if n.name in PICKLED_BY_TORCH)
            case ast.Call(func=ast.Name(id=name)) if name in EVALUATING:
                yield f"{name}()"
            case ast.Attribute(value=ast.Name(id="torch"), attr=name) if name in PICKLED_BY_TORCH:
                yield f"torch.{name}"
            case ast.Attribute(attr="exec_module"):
                yield "exec_module"
            case ast.keyword(arg="allow_pickle", value=value) if ast.unparse(value) != "False":
                yield "allow_pickle"


@pytest.mark.parametrize("path", GAMES, ids=relative)
def test_a_game_makes_no_updates_and_yields_inside_no_context(path):
    assert list(source_problems(tree(path))) == []


def games_in(path: Path) -> list[str]:
    """The classes of a file that are games."""
    classes = [node for node in tree(path).body if type(node) is ast.ClassDef]
    return [node.name for node in classes if any(ast.unparse(base).endswith("Game") for base in node.bases)]


@pytest.mark.parametrize("path", ENGINE, ids=relative)
def test_the_engine_names_no_game(path):
    names = {name for game in GAMES for name in (*games_in(game), *([game.stem] if games_in(game) else []))}
    assert {"GAN", "gan"} <= names
    assert re.findall(rf"\b({'|'.join(sorted(names))})\b", path.read_text("utf-8")) == []


@pytest.mark.parametrize("path", ENGINE, ids=relative)
def test_the_engine_asks_nobody_what_kind_he_is(path):
    names = {node.id for node in ast.walk(tree(path)) if type(node) is ast.Name}
    assert names & {"isinstance", "issubclass", "hasattr"} == set()


def test_nothing_reads_or_writes_pickles_or_evaluates_text():
    found = {relative(path): list(dangers(tree(path))) for path in ALL}
    # Recipes in Python are the user's own code, imported by the one function that says so.
    assert {name: what for name, what in found.items() if what} == {"runs/loading.py": ["exec_module"]}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "import yaml.loader",
        "from pickle import loads",
        "torch.load(path)",
        "from torch import load",
        "eval(text)",
        "exec(text)",
        "np.load(path, allow_pickle=True)",
        "spec.loader.exec_module(module)",
    ],
)
def test_the_search_finds_what_it_looks_for(text):
    assert list(dangers(ast.parse(text)))


def test_harmless_source_is_silent():
    harmless = "game.eval(); json.load(f); safetensors.torch.load(b); np.load(p, allow_pickle=False)"
    assert list(dangers(ast.parse(harmless))) == []


@pytest.mark.parametrize(
    "text", ["loss.backward()", "optimizer.step()", "x.item()", "def f():\n    with g():\n        yield 1"]
)
def test_the_rules_of_games_find_what_they_look_for(text):
    assert list(source_problems(ast.parse(text)))
