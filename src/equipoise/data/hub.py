"""An image set of the Hugging Face hub, opened by the library `datasets`: its parts, its columns, its rows."""

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

from equipoise.core.errors import DataError, nearest

PATIENCE = 10
"""Seconds until the hub counts as out of reach."""
RETRIES = 2
"""How often `datasets` begins again when a download breaks off, after 5 seconds or more; it would 20 times."""

NETWORK = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "aiohttp")
"""Whose errors are of the network, whichever of them the installed version uses."""

OWNER_AND_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@final
@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which images of which set."""

    name: str
    """OWNER/NAME on the hub, or the absolute path of a copy of such a repository."""
    part: str = "train"
    config: str | None = None
    """One of several sets that share a name; the hub calls it a subset."""
    image: str | None = None
    """The column of images; None: the only one."""
    label: str | None = None
    """The column of classes; None: the only one, if any; empty: no classes."""
    revision: str | None = None
    """A branch, tag or commit; None: what is current when the set is fetched."""
    limit: int | None = None
    """The first so many examples only."""

    @property
    def is_copy(self) -> bool:
        """Whether the name is that of a folder."""
        return Path(self.name).is_absolute()


Kind = Literal["image", "encoded", "classes", "number", "text", "other"]
"""What a column holds: "encoded" are bytes that may be images, "classes" are numbers with names."""


class Column(NamedTuple):
    """A column of a set."""

    kind: Kind
    type: str
    """What `datasets` calls it, for people."""
    classes: tuple[str, ...] = ()


Row = tuple[bytes | None, int | str | None]
"""An encoded image and its class; None where there is none."""


@final
@dataclass(frozen=True)
class Found:
    """A set that was opened. Nothing but its description has been read."""

    parts: Mapping[str, int | None]
    """The number of examples of each, where it is told."""
    columns: Mapping[str, Column]
    rows: Callable[[str, str, str | None], Iterator[Row]]
    """From a part, its column of images and its column of classes to as many rows as are wanted. Raises `DataError`."""
    commit: str | None = None
    license: str | None = None


def from_hub(wanted: Wanted) -> Found:
    """Open a set on the hub, or a copy of it, with `datasets` (the extra `hub`). Code of a set is never run.

    Raises `DataError` where the extra is missing, the hub is out of reach (at once: nothing is tried again), or there
    is no such set, revision or configuration.
    """
    if not wanted.is_copy:
        refuse_offline(wanted)
    try:
        import datasets  # pyright: ignore[reportMissingImports]
        from huggingface_hub import HfApi, errors  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DataError(
            f"{wanted.name} is read with the library `datasets`, which is not installed: pip install 'equipoise[hub]'."
        ) from error
    commit = license = None
    if not wanted.is_copy:
        try:
            info = HfApi().dataset_info(wanted.name, revision=wanted.revision, timeout=PATIENCE)
        except errors.GatedRepoError as error:
            raise behind_terms(wanted) from error
        except errors.RevisionNotFoundError as error:
            raise DataError(
                f"{wanted.name} has no revision {wanted.revision!r}. Leave it out for the newest."
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise DataError(
                f"There is no data set {wanted.name} on the Hugging Face hub, or it is private. Look for the name on "
                "https://huggingface.co/datasets; for a private one `hf auth login`, or set HF_TOKEN."
            ) from error
        except Exception as error:
            raise out_of_reach(wanted, error) from error
        commit = info.sha
        license = listed(info.card_data.get("license") if info.card_data else None)
    with tempfile.TemporaryDirectory() as scratch, asking(wanted):
        opened = datasets.load_dataset(
            wanted.name,
            wanted.config,
            revision=commit,
            streaming=True,  # only what is asked for is downloaded, and nothing is kept twice
            cache_dir=scratch,
        )
        first = next(iter(opened.values()))
        if first.features is None:  # of texts and tables, only a row tells
            columns = {name: Column("other", type(value).__name__) for name, value in next(iter(first), {}).items()}
        else:
            columns = {name: column(feature) for name, feature in first.features.items()}
    if wanted.is_copy:
        license = listed(readme_license(Path(wanted.name)))
    sizes = first.info.splits or {}

    def rows(part: str, image: str, label: str | None) -> Iterator[Row]:
        # Of folders of images, threads decode ahead: that has to be switched off before anything else is asked.
        chosen = opened[part].decode(False).select_columns([image] if label is None else [image, label])
        chosen = chosen.cast_column(image, datasets.Image(decode=False))
        if wanted.limit is not None:
            chosen = chosen.take(wanted.limit)
        with asking(wanted):
            for row in chosen:
                yield encoded(row[image], wanted, commit), None if label is None else row[label]

    return Found(
        parts={str(part): sizes[part].num_examples if part in sizes else None for part in opened},
        columns=columns,
        rows=rows,
        commit=commit,
        license=license,
    )


def refuse_offline(wanted: Wanted) -> None:
    """A `DataError` where the environment forbids to ask the hub."""
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        value = os.environ.get(variable, "")
        if value.upper() in ("1", "ON", "YES", "TRUE"):
            raise DataError(
                f"{wanted.name} has not been fetched yet, and {variable}={value} forbids to ask the hub. "
                f"Unset {variable}. {by_hand(wanted)}"
            )


def out_of_reach(wanted: Wanted, error: Exception) -> DataError:
    """What to say where the hub cannot be reached, or does not give what it has."""
    from huggingface_hub import constants  # pyright: ignore[reportMissingImports]

    return DataError(
        f"{wanted.name} could not be fetched from {constants.ENDPOINT} ({type(error).__name__}: {first_line(error)}). "
        f"Is there a network, or a proxy to be set by HTTPS_PROXY? {by_hand(wanted)}"
    )


def behind_terms(wanted: Wanted) -> DataError:
    """What to say of a set that not everybody is given."""
    return DataError(
        f"{wanted.name} is given only to those who agreed to its terms. Do so on "
        f"https://huggingface.co/datasets/{wanted.name}, then `hf auth login`, or set HF_TOKEN."
    )


def by_hand(wanted: Wanted) -> str:
    """How to come by a set where it cannot be fetched from here."""
    if wanted.is_copy:
        return "Unpack the images into a folder and give that in place of it: --data FOLDER."
    folder = wanted.name.rpartition("/")[2]
    return (
        f"Or download it elsewhere by `hf download {wanted.name} --repo-type dataset --local-dir {folder}`, copy the "
        f"folder here and give it: --data hub:./{folder}. Any folder of images will do, too: --data FOLDER."
    )


@contextmanager
def asking(wanted: Wanted) -> Iterator[None]:
    """Give up soon where a download breaks off, and translate what `datasets` raises into a `DataError`."""
    from datasets import config  # pyright: ignore[reportMissingImports]
    from huggingface_hub.errors import GatedRepoError  # pyright: ignore[reportMissingImports]

    patience = config.STREAMING_READ_MAX_RETRIES, config.STREAMING_OPEN_MAX_RETRIES
    config.STREAMING_READ_MAX_RETRIES = config.STREAMING_OPEN_MAX_RETRIES = RETRIES
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        text, reason = str(error), f"{type(error).__name__}: {first_line(error)}"
        if isinstance(error, GatedRepoError) or "is a gated dataset" in text:
            raise behind_terms(wanted) from error
        if "scripts are no longer supported" in text:
            plain = "The hub may hold it as plain files, too: data.revision = refs/convert/parquet."
            elsewhere = by_hand(wanted) if wanted.is_copy else plain
            raise DataError(
                f"{wanted.name} is made by a program of its own ({text.rpartition(' ')[2]}), and code of a data set is "
                f"never run. {elsewhere}"
            ) from error
        if "Config name is missing" in text or "BuilderConfig" in text:
            configs = re.findall(r"'([^']+)'", text[text.find("[") : text.find("]")])
            asked = "several sets" if wanted.config is None else f"no set {wanted.config!r}"
            hint = nearest(wanted.config or "", configs)
            raise DataError(f"{wanted.name} holds {asked}. Choose one with data.config. {hint}") from error
        if isinstance(error, FileNotFoundError) and "data files" in text:
            raise DataError(f"{wanted.name} holds no data files that `datasets` reads. {by_hand(wanted)}") from error
        of_network = isinstance(error, OSError) or type(error).__module__.partition(".")[0] in NETWORK
        if of_network and not wanted.is_copy:
            raise out_of_reach(wanted, error) from error
        raise DataError(f"{wanted.name} cannot be read by `datasets` ({reason}). {by_hand(wanted)}") from error
    finally:
        config.STREAMING_READ_MAX_RETRIES, config.STREAMING_OPEN_MAX_RETRIES = patience


def column(feature: Any) -> Column:
    """A column as `datasets` describes it."""
    match type(feature).__name__:
        case "Image":
            return Column("image", "images")
        case "ClassLabel" if feature.names:
            return Column("classes", f"{len(feature.names)} classes", tuple(feature.names))
        case "Value":
            kinds: dict[str, Kind] = {
                "binary": "encoded",
                "large_binary": "encoded",
                "string": "text",
                "large_string": "text",
            }
            whole = re.fullmatch(r"u?int\d+|bool", feature.dtype)
            return Column("number" if whole else kinds.get(feature.dtype, "other"), feature.dtype)
        case "dict" if "bytes" in feature:
            return Column("encoded", "bytes")
        case name:
            return Column("other", name)


def encoded(value: Mapping[str, Any] | None, wanted: Wanted, commit: str | None) -> bytes | None:
    """The bytes of an image, which a row holds itself or names by a path."""
    if value is None or value["bytes"] is not None or value["path"] is None:
        return None if value is None else value["bytes"]
    import fsspec

    path = str(value["path"])
    *packed, container = path.split("::")
    if wanted.is_copy:
        inside = Path(container).resolve().is_relative_to(Path(wanted.name).resolve())
    else:
        inside = container.startswith(f"hf://datasets/{wanted.name}@{commit}/")
    # A row can name any file of this machine or its network: only those of the set itself are read.
    if not inside or not all(step.startswith("zip://") for step in packed):
        raise DataError(f"{wanted.name} names an image outside of itself, {path!r}, which is not read.")
    with fsspec.open(path, "rb") as stream:
        return stream.read()  # pyright: ignore[reportAttributeAccessIssue]


def readme_license(folder: Path) -> Any:
    """The license that the card of a copied repository tells."""
    from huggingface_hub import DatasetCard  # pyright: ignore[reportMissingImports]

    readme = folder / "README.md"
    return DatasetCard.load(readme, ignore_metadata_errors=True).data.get("license") if readme.is_file() else None


def listed(license: Any) -> str | None:
    """One license or several as a text."""
    return ", ".join(map(str, license)) if isinstance(license, list) else license


def first_line(error: Exception) -> str:
    """What an error says, without its advice."""
    return (str(error).strip().splitlines() or ["no reason told"])[0]
