"""`equipoise data`: what is wrong with data, a cleaned copy of it, shards for streaming, a look at augmentation."""

import json
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from equipoise.cli.train import Settings

if TYPE_CHECKING:
    from equipoise.data.inspection import Finding, Inspection
    from equipoise.data.named import Progress

data = App(
    name="data",
    help="Look for what is wrong with data, write a cleaned copy, pack it into shards, preview augmentation.",
)


@data.command
def check(
    path: Path,
    /,
    *,
    part: str | None = None,
    page: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    fresh: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Say what is wrong with data. Leaves with 0 (nothing, or notes only), 10 (warnings) or 20 (critical findings).

    Nothing in the data is changed. The same content is looked at once; what was found is kept in the user's cache.

    Parameters
    ----------
    path
        A folder or .zip of images, sounds or videos, a folder of shards, an .npy or .npz file, or the name of a set,
        such as mnist or hub:OWNER/NAME.
    part
        Look at this part alone, such as "train" or a sub-folder; by default all parts, also against each other. Of a
        set by name: the split, by default train.
    page
        Write a page with pictures of what was found, an .html file.
    as_json
        Print all findings with their evidence as JSON.
    fresh
        Look again, whatever is remembered.
    """
    from equipoise.data.inspection import inspected, write_page

    with progress_bar() as progress:
        where, inside = place_of(path, part, progress)
        inspection = inspected(where, part=inside, fresh=fresh, progress=progress)
    if page is not None:
        write_page(inspection, page)
    if as_json:
        print(json.dumps(inspection.as_dict(), indent=1))
    else:
        print_inspection(inspection, page, str(path))
    if inspection.exit_code:
        sys.stdout.flush()
        sys.exit(inspection.exit_code)


@data.command
def clean(
    path: Path,
    out: Path,
    /,
    *,
    part: str | None = None,
    keep: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Write a cleaned copy of data into a new folder. Leaves with 20 if critical findings are true of it, too.

    The original is only read. What is broken is left out, what can be repaired is repaired, everything else is copied
    byte for byte. Every decision stands in OUT/cleaning.jsonl, with its reason.

    Parameters
    ----------
    path
        What `equipoise data check` takes.
    out
        A new or empty folder.
    part
        Clean this part alone.
    keep
        Kinds of findings to leave as they are, such as near-duplicate.
    as_json
        Print what was done as JSON.
    """
    from equipoise.data.inspection import KINDS
    from equipoise.data.inspection import clean as write_clean

    with progress_bar() as progress:
        where, inside = place_of(path, part, progress)
        result = write_clean(where, out, part=inside, keep=keep or (), progress=progress)
    counts = Counter((decision.kind, decision.action) for decision in result.decisions)
    if as_json:
        print(
            json.dumps(
                {
                    "out": str(result.out),
                    "log": str(result.log),
                    "examples": result.num_examples,
                    "written": result.written,
                    "dropped": result.dropped,
                    "repaired": result.repaired,
                    "trainable": None if result.trainable is None else str(result.trainable),
                    "unmended": [finding.as_dict() for finding in result.unmended],
                    "decisions": [{"kind": k, "action": a, "count": n} for (k, a), n in counts.items()],
                },
                indent=1,
            )
        )
    else:
        for (kind, action), number in counts.items():
            done = {"drop": "left out", "repair": "repaired", "keep": "left as they are"}[action]
            print(f"{KINDS[kind].title}: {number:,} {done}")
        shares = f"{result.written:,} of {result.num_examples:,}"
        print(f"{shares} examples are in {out}, {result.repaired:,} of them repaired.")
        print(f"Decisions    {result.log}")
        for kind in dict.fromkeys(finding.kind for finding in result.unmended):
            print(f"Not mended   {sentence([finding for finding in result.unmended if finding.kind == kind])}")
        if result.trainable is not None:
            print(f"Next         equipoise train --data {shlex.quote(str(result.trainable))}")
    if result.unmended:
        sys.stdout.flush()
        sys.exit(20)


@data.command
def convert(
    path: Path,
    out: Path,
    /,
    *,
    part: str | None = None,
    per_shard: int = 1000,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Pack images into shards: few tar files that other programs stream and `equipoise train --data OUT` reads.

    The bytes of the images stay as they are, and training gives the same examples in the same order.

    Parameters
    ----------
    path
        A folder or .zip of images.
    out
        A new or empty folder.
    part
        Pack this part alone; by default all parts, side by side.
    per_shard
        Images in a shard.
    as_json
        Print what was written as JSON.
    """
    from equipoise.core.disk import readable
    from equipoise.core.errors import DataError
    from equipoise.data.inspection.contents import contents_of
    from equipoise.data.shards import write_shards

    if path.is_file() and path.suffix.lower() in (".npy", ".npz"):
        raise DataError(f"{path} is a single file already, which training reads as it is. Expected a folder or a .zip.")
    with progress_bar() as progress:
        where, inside = place_of(path, part, progress)
        contents = contents_of(where, inside)
        parts = sorted(set(contents.parts.values())) or [inside]
        result = write_shards(where, contents.files, out, parts=parts, per_shard=per_shard, progress=progress)
    if as_json:
        print(
            json.dumps(
                {
                    "out": str(out),
                    "images": result.num_images,
                    "bytes": result.num_bytes,
                    "shards": result.shards,
                    "skipped": result.skipped,
                },
                indent=1,
            )
        )
        return
    for line in result.skipped:
        print(f"Left out: {line}")
    shards = f"{len(result.shards):,} shard{'s' * (len(result.shards) != 1)}"
    print(f"{result.num_images:,} images in {shards} in {out} ({readable(result.num_bytes)}).")
    print(f"Next         equipoise train --data {shlex.quote(str(out))}")


@data.command
def preview(
    path: str,
    out: Path,
    /,
    *,
    recipe: str | None = None,
    set_: Settings = None,
    num: int = 8,
    variants: int = 8,
    seed: int = 0,
) -> None:
    """Draw what augmentation makes of some images: one row each, first the image itself, then variants of it.

    A first block of rows shows `data.augmentation`, which changes the training images; a second one what the critic
    sees, where game.classical, game.diffaugment, game.ada or game.instance_noise change that, too.

    Parameters
    ----------
    path
        What `equipoise train --data` takes, "digits" among it.
    out
        The picture to write, .png.
    recipe
        What `equipoise train` takes; by default that for images.
    set_
        Changes to the recipe as key=value, for example data.augmentation.rotation=10 game.diffaugment=true.
    num
        Images.
    variants
        Variants of each.
    seed
        Other images and other variants.
    """
    from equipoise.core.disk import disk_errors
    from equipoise.core.errors import RecipeError
    from equipoise.recipes import load
    from equipoise.runs.preview import previewed, write_preview
    from equipoise.runs.recipe import parse_setting

    if out.suffix.lower() != ".png":
        raise RecipeError(f"{out}: expected a name ending in .png.")
    chosen, _ = load(recipe, data=path, settings=dict(map(parse_setting, set_ or [])))
    seen = previewed(chosen, num=num, variants=variants, seed=seed)
    with disk_errors("writing the preview", out.parent):
        write_preview(seen, out)
    for line in seen.lines:
        print(line)
    print(out)


def place_of(path: Path, part: str | None, progress: "Progress") -> tuple[Path, str | None]:
    """Where data lies and which part of it is meant, after a set by name has been fetched. Raises `DataError`."""
    from equipoise.data.named import Wanted, fetched, is_name
    from equipoise.data.open import missing

    path = path.expanduser()
    if path.exists():
        return path, part
    if not is_name(str(path)):
        raise missing(path)
    return fetched(Wanted(name=str(path), part=part or "train"), progress=progress), None


def print_inspection(inspection: "Inspection", page: Path | None, path: str) -> None:
    """A table of the findings by kind, the most severe first, and what to do next with the data called `path`."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from equipoise.data.inspection import KINDS

    counts = ", ".join(f"{number:,} {medium}" for medium, number in inspection.counts.items())
    classes = f" in {len(inspection.classes):,} classes" if inspection.classes else ""
    parts = f" ({', '.join(f'{part} {number:,}' for part, number in inspection.parts.items())})"
    print(f"{printable(path)}: {counts or 'nothing could be read'}{classes}{parts if inspection.parts else ''}.")
    if inspection.remembered:
        print("Looked at before: nothing has changed since, so the findings are those of then (--fresh looks again).")
    console = Console()
    if inspection.findings:
        table = Table(show_edge=False, pad_edge=False, box=None, padding=(0, 2, 0, 0))
        for column, width in (("severity", 8), ("what", 29), ("number", 6), ("clean", 8), ("for example", 8)):
            last = column == "for example"  # a long name takes several lines, not the room of the other columns
            side = "right" if column == "number" else "left"
            table.add_column(column, justify=side, no_wrap=not last, overflow="fold", min_width=width)
        styles = {"critical": "bold red", "warning": "yellow", "note": "blue"}
        for kind, findings in inspection.by_kind().items():
            severity = findings[0].severity
            table.add_row(
                Text(severity, styles[severity]),
                KINDS[kind].title,
                f"{len(findings):,}",
                Text(done(findings)),
                Text(printable(findings[0].paths[0] if findings[0].paths else "the whole set")),
            )
        print()
        console.print(table)
        for findings in inspection.by_kind().values():
            whole = [finding for finding in findings if is_about_the_set(finding)]
            if whole:
                console.print(Text(f"\n{sentence(whole)}"))
    else:
        print("Nothing was found to be wrong.")
    print()
    for line in inspection.unseen:
        print(printable(line))
    source = shlex.quote(printable(path))
    if page is not None:
        print(f"Page         {page}")
    elif inspection.findings:
        print(f"See them     equipoise data check {source} --page page.html")
    if any(finding.action != "keep" for finding in inspection.findings):
        print(f"Clean        equipoise data clean {source} NEW_FOLDER")
    if inspection.exit_code < 20 and inspection.counts.keys() & {"images", "rows"}:
        print(f"Train        equipoise train --data {source}")


def is_about_the_set(finding: "Finding") -> bool:
    """Whether it is about a whole set or array, which the name of an example cannot show."""
    return not finding.paths or (finding.kind in ("corrupt", "refused", "range") and finding.action != "drop")


def sentence(findings: "list[Finding]") -> str:
    """What is the matter with the first of some findings of a kind, and how many more there are."""
    first = findings[0]
    about = f", {first.paths[0]}" if first.paths else ""
    more = f" (and {len(findings) - 1:,} more: --json lists all)" if len(findings) > 1 else ""
    return printable(f"{first.title}{about}: {first.explanation}{more}")


def done(findings: "list[Finding]") -> str:
    """What `clean` would do with these findings."""
    words = {"drop": "left out", "repair": "repaired", "keep": "stays"}
    return ", ".join(dict.fromkeys(words[finding.action] for finding in findings))


def printable(text: str) -> str:
    """File names may hold bytes that are no text; printing them raw would raise."""
    return text.encode("utf-8", "backslashreplace").decode()


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A line on the terminal that says how far the look is; nothing where nobody sees it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, finished: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what.capitalize(), total=total or None)
            bar.update(tasks[what], completed=finished, total=total or None)

        yield tell
