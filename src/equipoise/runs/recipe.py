"""A recipe: strictly validated data that says which game is played with which networks on which data for how long."""

import dataclasses
import difflib
import hashlib
import json
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import tomli_w
from pydantic import BaseModel, BeforeValidator, Field, SerializeAsAny, TypeAdapter, ValidationError

from equipoise.core.errors import RecipeError, nearest
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.runs.parts import DATA_KINDS, GAME_KINDS, DataSettings, Digits, Gan, GameSettings, Part


class Watching(Part):
    """What a run looks at while it trains, and how often, in steps."""

    signals_every: int = Field(default=50, ge=1)
    samples_every: int = Field(default=250, ge=1)
    histograms_every: int = Field(default=500, ge=1)
    num_samples: int = Field(default=64, ge=4, le=1024)
    """Examples in a sample grid."""
    tensorboard: bool = True


class Judging(Part):
    """What the evaluation at the end of a run measures."""

    at_end: bool = True
    num_samples: int = Field(default=500, ge=20)
    """Fakes, and as many reals from the held-out set, if it has them."""


def by_kind(kinds: Mapping[str, type[Part]]) -> BeforeValidator:
    """Turn a table with a `kind` into the settings class of that kind; settings objects pass."""

    def choose(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        kind = str(value.get("kind"))
        if kind not in kinds:
            raise ValueError(f"kind {kind!r} is not known. {nearest(kind, kinds)}")
        return kinds[kind].model_validate(value)

    return BeforeValidator(choose)


class Recipe(Part):
    """Everything that decides what a run does. `Recipe()` trains an unconditional GAN on the digits."""

    name: str = Field(default="recipe", pattern=r"^[\w.-]{1,64}$")
    game: Annotated[SerializeAsAny[GameSettings], by_kind(GAME_KINDS)] = Gan()
    data: Annotated[SerializeAsAny[DataSettings], by_kind(DATA_KINDS)] = Digits()
    training: Plan = Plan()
    players: dict[str, Optimizer] = {}
    watching: Watching = Watching()
    judging: Judging = Judging()


# What may change between two sessions of one run: none of it enters the mathematics of a step that is already taken.
FREE_TO_CHANGE = ("name", "watching", "judging", "training.steps", "training.save_every", "training.keep", "training.patience",
                  "training.rollbacks", "training.precision")  # fmt: skip


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain tables, without empty entries."""

    def drop_none(value: Any) -> Any:
        return {k: drop_none(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value

    return drop_none(recipe.model_dump(mode="json"))


def to_toml(recipe: Recipe) -> str:
    """The recipe as a TOML file that `read_toml` reads back."""
    return tomli_w.dumps(to_dict(recipe))


def from_dict(content: Mapping[str, Any], *, like: Recipe | None = None) -> Recipe:
    """A complete recipe from plain tables. Raises `RecipeError` naming the key.

    `like` supplies the settings classes where its game or data is of a kind that the package does not ship.
    """
    content = dict(content)
    if like is not None:
        for key in ("game", "data"):
            content[key] = validated(type(getattr(like, key)), content[key], path=key)
    return validated(Recipe, content)


def parse_toml(text: str, *, where: str) -> dict[str, Any]:
    """Plain tables from TOML text. Raises `RecipeError` with the line."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RecipeError(f"{where} is not valid TOML: {error}.") from error


def read_toml(path: Path) -> dict[str, Any]:
    """Plain tables from a TOML file of at most 1 MB."""
    if path.stat().st_size > 1_000_000:
        raise RecipeError(f"{path} is larger than 1 MB: that is no recipe.")
    try:
        return parse_toml(path.read_text("utf-8"), where=str(path))
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 text: expected a recipe in TOML.") from error


def parse_setting(setting: str) -> tuple[str, Any]:
    """The key and value of one `--set key=value`; the value is TOML, or else a plain string.

    >>> parse_setting("training.steps=200"), parse_setting("game.loss=hinge")
    (('training.steps', 200), ('game.loss', 'hinge'))
    """
    key, separator, text = setting.partition("=")
    if not separator or not key.strip():
        raise RecipeError(f"--set {setting}: expected key=value, for example --set training.steps=2000.")
    try:
        return key.strip(), tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return key.strip(), text.strip()


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with dotted keys changed. Raises `RecipeError` naming the nearest valid key.

    A `kind` is applied first and starts its table anew from the defaults of that kind.

    >>> with_settings(Recipe(), {"training.steps": 20}).training.steps
    20
    """
    ordered = sorted(settings.items(), key=lambda item: (not item[0].endswith("kind"), item[0].count(".")))
    for key, value in ordered:
        recipe = changed(recipe, key.split("."), value, path="")
    return recipe


def changed(part: Any, keys: list[str], value: Any, *, path: str) -> Any:
    """A copy of one part of a recipe, with the value at the end of the keys replaced and everything validated."""
    key, rest = keys[0], keys[1:]
    here = f"{path}.{key}".lstrip(".")
    fields = field_names(type(part))
    if key not in fields:
        raise RecipeError(f"{here}: unknown key. {nearest(key, fields)}")
    current = getattr(part, key)
    if rest == ["kind"] and "kind" in field_names(type(current)):
        new: Any = {"kind": value}
    elif rest and field_names(type(current)):
        new = changed(current, rest, value, path=here)
    elif rest:
        new = nested(current if isinstance(current, Mapping) else {}, rest, value)
    else:
        new = merged(current, value)
    return validated(type(part), {name: getattr(part, name) for name in fields} | {key: new}, path=path)


def merged(current: Any, value: Any) -> Any:
    """A table given for a part changes only the keys that it names, unless it names a kind."""
    if isinstance(value, Mapping) and field_names(type(current)) and "kind" not in value:
        return {name: getattr(current, name) for name in field_names(type(current))} | dict(value)
    return value


def nested(table: Mapping[str, Any], keys: list[str], value: Any) -> dict[str, Any]:
    """A copy of nested tables with one value replaced; entries that are settings are opened as tables first."""
    if not keys:
        return value
    entry = table.get(keys[0], {})
    if dataclasses.is_dataclass(entry) and not isinstance(entry, type):
        entry = {field.name: getattr(entry, field.name) for field in dataclasses.fields(entry)}
    inner = nested(entry if isinstance(entry, Mapping) else {}, keys[1:], value) if keys[1:] else value
    return {**table, keys[0]: inner}


def field_names(kind: Any) -> list[str]:
    """The keys of a settings class; none for anything else."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return list(kind.model_fields)
    return [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []


def validated(kind: type, content: Any, *, path: str = "") -> Any:
    """An object of a settings class from its content. Raises `RecipeError` that says what was expected."""
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise RecipeError("\n".join(dict.fromkeys(explain(e, kind, path) for e in error.errors()))) from error


def explain(error: Any, kind: Any, path: str) -> str:
    """One line: where, what was passed, what was expected, and the nearest valid name."""
    keys = [str(k) for k in error["loc"]]
    for key in keys[:-1]:
        kind = kind_of_field(kind, key) or kind
    where = ".".join(k for k in [path, *keys] if k and k.isidentifier() and not k[0].isupper()) or "recipe"
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{where}: unknown key. {nearest(keys[-1], field_names(kind))}"
    if error["type"] == "literal_error":
        expected = str(error["ctx"]["expected"])
        valid = [name.strip(" '") for name in expected.replace(" or ", ",").split(",")]
        close = difflib.get_close_matches(str(error["input"]), valid, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"{where}: {error['input']!r} is not valid; expected {expected}.{hint}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if message.endswith(".") else f"{where}: {message}, not {error['input']!r}."


def kind_of_field(kind: Any, key: str) -> Any:
    """The settings class behind a field, where it is a single one."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        annotation: Any = kind.model_fields[key].annotation if key in kind.model_fields else None
    else:
        annotation = typing.get_type_hints(kind).get(key) if dataclasses.is_dataclass(kind) else None
    if typing.get_origin(annotation) is dict:
        annotation = typing.get_args(annotation)[1]
    return annotation if field_names(annotation) else None


def flat(recipe: Recipe) -> dict[str, Any]:
    """Dotted keys to values."""
    result: dict[str, Any] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(inner, f"{path}.{key}".lstrip("."))
        else:
            result[path] = value

    walk(to_dict(recipe), "")
    return result


def differences(mine: Recipe, theirs: Recipe) -> list[str]:
    """What differs between two recipes and matters for the mathematics, as "key: a -> b" lines."""
    a, b = flat(theirs), flat(mine)
    keys = [k for k in dict.fromkeys([*a, *b]) if not any(k == f or k.startswith(f"{f}.") for f in FREE_TO_CHANGE)]
    return [f"{k}: {a.get(k, '(absent)')!r} -> {b.get(k, '(absent)')!r}" for k in keys if a.get(k) != b.get(k)]


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 over what matters for the mathematics."""
    content = {k: v for k, v in flat(recipe).items() if not any(k == f or k.startswith(f"{f}.") for f in FREE_TO_CHANGE)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
