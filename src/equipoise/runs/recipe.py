"""A recipe: strictly validated data that says which game is played with which networks on which data for how long."""

import dataclasses
import difflib
import hashlib
import json
import reprlib
import tomllib
import types
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, BeforeValidator, Field, SerializeAsAny, TypeAdapter, ValidationError

from equipoise.core.errors import RecipeError, nearest
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.monitor.spaces import SpaceName
from equipoise.runs.kinds import DATA_KINDS, GAME_KINDS
from equipoise.runs.parts import DataSettings, Digits, GameSettings, Gan, Part


class Watching(Part):
    """What a run looks at while it trains, and how often, in steps."""

    signals_every: int = Field(default=50, ge=1)
    samples_every: int = Field(default=250, ge=1)
    histograms_every: int = Field(default=500, ge=1)
    num_samples: int = Field(default=64, ge=4, le=1024)
    """Examples in a sample grid."""
    tensorboard: bool = True
    wandb: bool = False
    """Also to Weights & Biases, offline unless WANDB_MODE says otherwise."""
    mlflow: bool = False
    """Also to MLflow, where MLFLOW_TRACKING_URI says."""
    probes_every: int | Literal["auto", "off"] = "auto"
    """How often the game is probed for the doctor, in steps; "auto" spends 1.5 % of the time on it."""
    autopilot: bool = False
    """Whether faults are treated: back to the last healthy checkpoint, and on with a changed recipe."""
    space: SpaceName = "random"
    """Where images are compared: "pixels", "random" for a network with random weights, "critic" for what the critic
    sees now, "trained" for the network that judges the run, which is then fitted before the first step."""


class Judging(Part):
    """When a run is evaluated, and what follows from it."""

    at_end: bool = True
    num_samples: int = Field(default=500, ge=20)
    """Fakes, and as many reals from the held-out set, if it has them."""
    every: int | None = Field(default=None, ge=1)
    """Also while it trains, every so many steps; the best state so far is kept."""
    metric: Literal[
        "fid",
        "kid",
        "precision",
        "recall",
        "density",
        "coverage",
        "psnr",
        "ssim",
        "perceptual",
        "dice",
        "iou",
        "domain",
        "kept",
        "content",
        "style",
        "strokes",
        "mean_score",
        "accuracy",
        "error",
    ] = "fid"
    """Says which state is the best; of restored pictures psnr, ssim or perceptual, of other games what they measure."""
    patience: int | None = Field(default=None, ge=1)
    """Training ends after so many evaluations without a better one."""


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


# What may change while a run lasts: none of it enters the mathematics of a step that is already taken. Where the data
# lies may change, its content may not: the checkpoints hold its fingerprint.
FREE_OF_TRAINING = (
    "steps",
    "threads",
    "precision",
    "measure_every",
    "shares_every",
    "save_every",
    "keep",
    "patience",
    "rollbacks",
)
FREE_TO_CHANGE = (
    "name",
    "watching",
    "judging",
    "data.path",
    "data.a.path",
    "data.b.path",
    "data.check",
    *(f"training.{key}" for key in FREE_OF_TRAINING),
)

SHORT = reprlib.Repr()
"""What was passed, in errors: never longer than a person reads."""
SHORT.maxstring = SHORT.maxother = 80


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain tables, without empty entries."""

    def drop_none(value: Any) -> Any:
        if isinstance(value, list):
            return [drop_none(one) for one in value]
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
        for key, shipped in (("game", GAME_KINDS), ("data", DATA_KINDS)):
            kind = type(getattr(like, key))
            if kind not in shipped.values():
                content[key] = validated(kind, content.get(key, {}), path=key)
    return validated(Recipe, content)


def parse_toml(text: str, *, where: str) -> dict[str, Any]:
    """Plain tables from TOML text. Raises `RecipeError` with the line."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # tomllib.TOMLDecodeError, or a number of thousands of digits
        raise RecipeError(f"{where} is not valid TOML: {error}.") from error


def read_toml(path: Path) -> dict[str, Any]:
    """Plain tables from a TOML file of at most 1 MB."""
    try:
        if path.stat().st_size > 1_000_000:
            raise RecipeError(f"{path} is larger than 1 MB: that is no recipe.")
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 text: expected a recipe in TOML.") from error
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}. Expected a recipe in TOML.") from error
    return parse_toml(text, where=str(path))


def parse_setting(setting: str) -> tuple[str, Any]:
    """The key and value of one `--set key=value`; the value is TOML, "null" for nothing, or else a plain string.

    >>> parse_setting("training.steps=200"), parse_setting("game.loss=hinge"), parse_setting("game.clip=null")
    (('training.steps', 200), ('game.loss', 'hinge'), ('game.clip', None))
    """
    key, separator, text = setting.partition("=")
    if not separator or not all(key.strip().split(".")):
        raise RecipeError(f"--set {SHORT.repr(setting)}: expected key=value, for example --set training.steps=2000.")
    if text.strip() == "null":
        return key.strip(), None
    try:
        return key.strip(), tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError) as error:
        if text.strip()[:1] in ("{", "["):
            raise RecipeError(
                f"--set {SHORT.repr(setting)}: {error}. Expected a table or list in TOML, its strings in quotes, for "
                "example '{start = 1e-3, end = 0, shape = \"cosine\"}'."
            ) from error
        return key.strip(), text.strip()


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with dotted keys changed. Raises `RecipeError` naming the nearest valid key.

    A `kind` is applied first, with the other keys of its table, which starts anew from the defaults of that kind.

    >>> with_settings(Recipe(), {"training.steps": 20}).training.steps
    20
    """
    left = dict(settings)
    for key in sorted((key for key in settings if key.endswith(".kind")), key=lambda key: key.count(".")):
        table = key.removesuffix(".kind")
        beside = [other for other in left if other.rpartition(".")[0] == table]
        new = {other.rpartition(".")[2]: left.pop(other) for other in beside}
        recipe = changed(recipe, table.split("."), new, path="")
    for key, value in sorted(left.items(), key=lambda item: item[0].count(".")):
        recipe = changed(recipe, key.split("."), value, path="")
    return recipe


def changed(part: Any, keys: list[str], value: Any, *, path: str) -> Any:
    """A copy of one part of a recipe, with the value at the end of the keys replaced and everything validated."""
    key, rest = keys[0], keys[1:]
    here = f"{path}.{key}".lstrip(".")
    fields = field_names(type(part))
    if key not in fields:
        raise RecipeError(f"{here}: unknown key. {meant(key, fields)}")
    current = getattr(part, key)
    if rest and field_names(type(current)):
        new = changed(current, rest, value, path=here)
    elif rest:
        new = nested(current if isinstance(current, Mapping) else {}, rest, value)
    else:
        new = merged(current, value, kinds_below(type(part), key))
    return validated(type(part), {name: getattr(part, name) for name in fields} | {key: new}, path=path)


def merged(current: Any, value: Any, kinds: list[Any]) -> Any:
    """A table given for a part changes only the keys that it names, unless it names a kind; so in the parts inside.

    A table of parts, such as `players`, is one more level; any other table, such as `penalties`, is replaced.
    """
    if not isinstance(value, Mapping) or not kinds:
        return value
    if field_names(type(current)) and all(map(is_settings, kinds)) and "kind" not in value:
        inside = {name: getattr(current, name) for name in field_names(type(current))}
        return inside | {k: merged(inside.get(k), v, kinds_below(type(current), k)) for k, v in value.items()}
    entries = kinds_below(kinds[0], "")
    if isinstance(current, Mapping) and entries and all(map(is_settings, entries)):
        return {**current, **{k: merged(current.get(k), v, entries) for k, v in value.items()}}
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


def is_settings(kind: Any) -> bool:
    """Whether a type is a settings class, whose tables are merged key by key."""
    return isinstance(kind, type) and (issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind))


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
        lines = [explain(e, kind, content, path) for e in error.errors(include_url=False)]
        raise RecipeError("\n".join(dict.fromkeys(line for line in lines if line))) from error


def explain(error: Any, kind: Any, content: Any, path: str) -> str:
    """One line: where, what was passed, what was expected, and the nearest valid name.

    Of a number that may also be a table, nothing is said about the forms that were not meant.
    """
    keys, value, owners, kinds = [path] if path else [], content, [kind], [kind]
    missing = str(error["type"]).startswith("missing")
    for number, key in enumerate(map(str, error["loc"]), 1):
        if holds(value, key) or (missing and number == len(error["loc"])):
            keys.append(key)
            value = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
            owners, kinds = kinds, [resolved(inner, value) for k in kinds for inner in kinds_below(k, key)]
        elif key in FORMS - meant_forms(value) and meant_forms(value) & {k.__name__ for k in kinds}:
            return ""
        else:  # pydantic's name for a form or a kind, which is in no recipe
            kinds = [k for k in kinds if key in (k.__name__, kind_name(k))] or kinds
    where, passed = ".".join(keys) or "recipe", SHORT.repr(error["input"])
    match error["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            valid = {name for owner in owners for name in field_names(owner)}
            return f"{where}: unknown key. {meant(keys[-1], valid)}"
        case "missing" | "missing_argument":
            return f"{where}: a value is needed, and none was given."
        case "literal_error":
            return f"{where}: {passed} is not valid; {one_of(str(error['input']), error['ctx']['expected'])}"
        case "union_tag_invalid":
            tag = error["ctx"]["tag"]
            return f"{where}.kind: {SHORT.repr(tag)} is not valid; {one_of(tag, error['ctx']['expected_tags'])}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if message.endswith(".") else f"{where}: {message}, not {passed}."


def meant(key: str, valid: Collection[str]) -> str:
    """What an unknown key may have meant: a technique of that name that is set elsewhere, or the nearest valid key."""
    from equipoise.runs import catalogue  # it knows all settings, and imports them

    if any(entry.name == key.replace("_", "-") for entry in catalogue.entries()):
        return catalogue.hint(key)
    return nearest(key, valid)


def one_of(passed: str, expected: str) -> str:
    """The valid values of a choice, which pydantic lists as "'a', 'b' or 'c'", and the nearest one."""
    valid = [name.strip(" '") for name in expected.replace(" or ", ",").split(",")]
    close = difflib.get_close_matches(passed, valid, n=1, cutoff=0.5)
    return f"expected {expected}." + (f" Did you mean {close[0]!r}?" if close else "")


FORMS = {"float", "int", "Schedule", "Lazy"}


def meant_forms(value: Any) -> set[str]:
    """Which form of a number was meant: the number itself, a schedule, or a lazy weight."""
    if not isinstance(value, Mapping):
        return {"float", "int"}
    return {"Lazy"} if {"weight", "every"} & value.keys() else {"Schedule"}


def holds(value: Any, key: str) -> bool:
    """Whether a table or settings object has a key."""
    return key in value if isinstance(value, Mapping) else key in field_names(type(value))


def kinds_below(kind: Any, key: str) -> list[Any]:
    """The types that a field of a settings class, or an entry of a table, may have."""
    if typing.get_origin(kind) is dict:
        return alternatives(typing.get_args(kind)[1])
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return alternatives(kind.model_fields[key].annotation) if key in kind.model_fields else []
    return alternatives(typing.get_type_hints(kind)[key]) if key in field_names(kind) else []


def alternatives(annotation: Any) -> list[Any]:
    """The types that an annotation allows."""
    if typing.get_origin(annotation) is Annotated:
        return alternatives(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [inner for part in typing.get_args(annotation) for inner in alternatives(part)]
    return [annotation]


def resolved(kind: Any, value: Any) -> Any:
    """The settings class of the kind that a table names, where `kind` is the base of several."""
    named = value.get("kind") if isinstance(value, Mapping) else None
    base = GAME_KINDS if kind is GameSettings else DATA_KINDS if kind is DataSettings else {}
    return base.get(named, kind) if isinstance(named, str) else kind


def kind_name(kind: Any) -> str | None:
    """The value of `kind` that stands for a settings class in a recipe."""
    field = kind.model_fields.get("kind") if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    return field.default if field else None


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


def follows_progress(recipe: Recipe) -> bool:
    """Whether anything in a recipe depends on how far training has come: a schedule, or networks that grow."""
    content = flat(recipe)
    return any(key.endswith(".start") for key in content) or content.get("game.network.kind") == "progressive"


def differences(mine: Recipe, theirs: Recipe) -> list[str]:
    """What differs between two recipes and matters for the mathematics, as "key: a -> b" lines."""
    a, b = flat(theirs), flat(mine)
    keys = [k for k in dict.fromkeys([*a, *b]) if not any(k == f or k.startswith(f"{f}.") for f in FREE_TO_CHANGE)]
    return [f"{k}: {a.get(k, '(absent)')!r} -> {b.get(k, '(absent)')!r}" for k in keys if a.get(k) != b.get(k)]


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 over what matters for the mathematics."""
    content = {
        k: v for k, v in flat(recipe).items() if not any(k == f or k.startswith(f"{f}.") for f in FREE_TO_CHANGE)
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def dotted(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted keys. A schedule stays a table.

    >>> dotted({"game": {"loss": "hinge", "rate": {"start": 1.0, "end": 0.0}}})
    {'game.loss': 'hinge', 'game.rate': {'start': 1.0, 'end': 0.0}}
    """
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and "start" not in value:
            flat |= dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
