"""Recipes: functions that return a `Recipe`, shipped and proven; and how a name becomes one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from equipoise.core.errors import RecipeError, nearest
from equipoise.data.named import PREFIX, is_name
from equipoise.recipes.conditional import conditional
from equipoise.recipes.digits import conditional_digits, digits
from equipoise.recipes.family import aae, cogan, infogan, lapgan, sgan, vaegan
from equipoise.recipes.generation import fastgan, r3gan, r3gan_64, r3gan_256, stylegan2, stylegan2_64, stylegan2_256
from equipoise.recipes.images import images, sngan
from equipoise.recipes.multitask import multitask
from equipoise.recipes.restoration import ct, denoising, inpainting, sr4
from equipoise.recipes.styles import adain, style, style_gan
from equipoise.recipes.toy import grid, ring
from equipoise.recipes.translation import cut, cyclegan, fastcut, pix2pix
from equipoise.runs.kinds import DATA_KINDS
from equipoise.runs.loading import is_python_recipe, python_recipe
from equipoise.runs.parts import DataSettings
from equipoise.runs.recipe import Recipe, read_toml, with_settings

SHIPPED: dict[str, Callable[[], Recipe]] = {
    "digits": digits,
    "conditional-digits": conditional_digits,
    "images": images,
    "conditional": conditional,
    "sngan": sngan,
    "stylegan2": stylegan2,
    "stylegan2-64": stylegan2_64,
    "stylegan2-256": stylegan2_256,
    "r3gan": r3gan,
    "r3gan-64": r3gan_64,
    "r3gan-256": r3gan_256,
    "fastgan": fastgan,
    "sr4": sr4,
    "inpainting": inpainting,
    "denoising": denoising,
    "ct": ct,
    "pix2pix": pix2pix,
    "multitask": multitask,
    "cyclegan": cyclegan,
    "cut": cut,
    "fastcut": fastcut,
    "style": style,
    "adain": adain,
    "style-gan": style_gan,
    "ring": ring,
    "grid": grid,
    "sgan": sgan,
    "infogan": infogan,
    "cogan": cogan,
    "lapgan": lapgan,
    "vaegan": vaegan,
    "aae": aae,
}

OF_READING = (
    *DataSettings.model_fields,  # what is held out, augmentation, standards
    "size",
    "channels",
    "part",
    "fit",
    "filter",
    "range",
)
"""Settings of data that stay when the data itself is exchanged."""


def load(
    name: str | Path | Recipe | None = None,
    *,
    data: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[Recipe, str]:
    """A recipe and its origin, from the name of a shipped one, a TOML file, `file.py:function`, or a `Recipe`.

    Without a name: "digits", or "images" if there is data. A TOML file may start from a shipped recipe by
    `base = "name"`. `data` replaces the recipe's data: a path, or the name of a set (`data.named`, "digits") where no
    such path exists; how examples are read stays as it was. `settings` are dotted keys.
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
        before = {**recipe.data.model_dump(), **changes.get("data", {})}
        changes["data"] = elsewhere(data, before)
    return with_settings(with_settings(recipe, changes), settings or {}), origin


def elsewhere(data: str | Path, before: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of data at a path or by a name, with what was said before about how it is read and divided."""
    path, text = Path(data).expanduser(), str(data)
    if before.get("kind") == "pictures":  # what is made of them stays; partners lie with other pictures
        return {"kind": "pictures", **before, "path": str(path.absolute()), "given": None}
    if before.get("kind") == "tasks":
        return {"kind": "tasks", **before, "path": str(path.absolute())}
    if before.get("kind") == "unpaired":  # what the domains are called stays
        return {"kind": "unpaired", **before, "path": str(path.absolute())}
    if before.get("kind") == "styled":  # the styles lie beside the contents, unless they were named
        styles = before.get("style") or path.absolute()
        return {**before, "path": str(path.absolute()), "style": str(styles)}
    place: dict[str, Any] = {"kind": "files", "path": str(path.absolute())}
    if not path.exists() and text == "digits":
        place = {"kind": "digits"}
    elif not path.exists() and is_name(text):
        place = {"kind": "hub", "name": text.removeprefix(PREFIX)}
    if place["kind"] != "hub" and before.get("kind") == "hub":
        before = {key: value for key, value in before.items() if key != "part"}  # splits are no folders
    keep = {key: before[key] for key in OF_READING if before.get(key) is not None}
    return place | {key: value for key, value in keep.items() if key in DATA_KINDS[place["kind"]].model_fields}


def shipped(name: str) -> Recipe:
    """The shipped recipe of that name."""
    if name not in SHIPPED:
        hint = nearest(name, SHIPPED)
        raise RecipeError(f"There is no recipe {name!r}. {hint} A recipe can also be a .toml file or FILE.py:FUNCTION.")
    return SHIPPED[name]()
