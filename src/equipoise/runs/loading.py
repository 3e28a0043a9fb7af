"""From a Python file to what a function in it returns: `my_game.py:recipe` names one that returns a recipe."""

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from equipoise.core.errors import RecipeError, nearest
from equipoise.runs.recipe import Recipe


class Uncached(SourceFileLoader):
    """Reads the source anew: Python's cache of compiled files goes by their second and length alone."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def is_python_recipe(origin: str) -> bool:
    """Whether an origin is a Python file and a function in it, "path/to/file.py:function"."""
    return ".py:" in origin


def python_recipe(origin: str) -> Recipe:
    """The recipe that a function of a Python file returns. The file is run: use only files that you trust."""
    recipe = python_object(origin, "a Recipe")
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"{origin} returned a {type(recipe).__name__}: expected an equipoise.Recipe.")
    return recipe


def python_object(origin: str, what: str) -> Any:
    """What a function of a Python file returns. The file is run: use only files that you trust."""
    file, _, function = origin.rpartition(":")
    path = Path(file).resolve()
    if not path.is_file():
        raise RecipeError(f"There is no file {path}: expected FILE.py:FUNCTION, where the function returns {what}.")
    name = f"equipoise_recipe_{path.stem}"  # a file called random.py must not replace Python's own
    spec = importlib.util.spec_from_file_location(name, path, loader=Uncached(name, str(path)))
    if spec is None or spec.loader is None:
        raise RecipeError(f"{path} cannot be loaded as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # it may import the files beside it, as a script may
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RecipeError(f"{path} stops with {type(error).__name__}: {error}") from error
    functions = [n for n, value in vars(module).items() if callable(value) and getattr(value, "__module__", "") == name]
    if function not in functions:
        raise RecipeError(f"{path} has no function {function!r}. {nearest(function, functions)}")
    try:
        return getattr(module, function)()
    except Exception as error:
        raise RecipeError(f"{origin} stops with {type(error).__name__}: {error}") from error
