"""Recipes: functions that return a `Recipe`, shipped and proven; and how a name becomes one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from equipoise.core.errors import RecipeError, nearest
from equipoise.recipes.conditional import conditional
from equipoise.recipes.digits import conditional_digits, digits
from equipoise.recipes.images import images, sngan
from equipoise.recipes.toy import grid, ring
from equipoise.runs.loading import is_python_recipe, python_recipe
from equipoise.runs.recipe import Recipe, read_toml, with_settings

SHIPPED: dict[str, Callable[[], Recipe]] = {
    "digits": digits,
    "conditional-digits": conditional_digits,
    "images": images,
    "conditional": conditional,
    "sngan": sngan,
    "ring": ring,
    "grid": grid,
}


def load(
    name: str | Path | Recipe | None = None,
    *,
    data: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[Recipe, str]:
    """A recipe and its origin, from the name of a shipped one, a TOML file, `file.py:function`, or a `Recipe`.

    Without a name: "digits", or "images" if there is data. A TOML file may start from a shipped recipe by
    `base = "name"`. `data` replaces the recipe's data by files; `settings` are dotted keys.
    Raises `RecipeError` naming the nearest valid name or key.
    """
    default = "images" if data is not None else "digits"
    origin = "python" if isinstance(name, Recipe) else str(name or default)
    changes: dict[str, Any] = {}
    if isinstance(name, Recipe):
        recipe = name
    elif is_python_recipe(origin):
        file, _, function = origin.rpartition(":")
        origin = f"{Path(file).resolve()}:{function}"
        recipe = python_recipe(origin)
    elif origin.endswith(".toml"):
        path = Path(origin)
        if not path.is_file():
            raise RecipeError(f"There is no recipe file {path}.")
        changes = read_toml(path)
        recipe = shipped(str(changes.pop("base", default)))
    else:
        recipe = shipped(origin)
    if data is not None:
        named = {**recipe.data.model_dump(), **changes.get("data", {})}
        keep = {k: named[k] for k in ("held_out", "size", "channels", "part", "fit") if named.get(k) is not None}
        changes["data"] = {"kind": "files", "path": str(Path(data).expanduser().absolute()), **keep}
    return with_settings(with_settings(recipe, changes), settings or {}), origin


def shipped(name: str) -> Recipe:
    """The shipped recipe of that name."""
    if name not in SHIPPED:
        hint = nearest(name, SHIPPED)
        raise RecipeError(f"There is no recipe {name!r}. {hint} A recipe can also be a .toml file or FILE.py:FUNCTION.")
    return SHIPPED[name]()
