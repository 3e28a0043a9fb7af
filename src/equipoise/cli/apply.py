"""`equipoise apply`: a run that answers pictures, applied to a file or a folder."""

from pathlib import Path


def apply(
    run: Path,
    source: Path,
    out: Path,
    /,
    *,
    mask: Path | None = None,
    direction: str | None = None,
    style: Path | None = None,
    strength: float | None = None,
    task: str | None = None,
    at: str = "newest",
    tile: int = 256,
) -> None:
    """Restore, translate or stylise a picture, an .npy array, or all of a folder, of any size, tile by tile.

    Names stay; 16-bit grey and transparency are kept; what cannot be read is named and left out. Everything that is
    written carries a label of its origin.

    Parameters
    ----------
    run
        The run folder.
    source
        A picture, an .npy array in the units of the data, or a folder of them.
    out
        The file or folder to write.
    mask
        For inpainting: a picture that is white in the holes, or a folder of such by the same names. By default what
        is transparent is a hole.
    direction
        Of a translation between two domains: AtoB or BtoA.
    style
        Of a game of any style: the picture whose style is taken.
    strength
        How much of the style, from 0 to 1.
    task
        Of a game of several tasks: which.
    at
        Which checkpoint: newest, best, or a step.
    tile
        Pixels per side that are computed at a time; fewer need less memory.
    """
    from equipoise.cli.data import progress_bar
    from equipoise.cli.show import checkpoint
    from equipoise.core.errors import RecipeError
    from equipoise.games.answers import Choice
    from equipoise.runs.applying import apply_to_files, coloured_picture
    from equipoise.runs.run import Run

    if tile < 16:
        raise RecipeError(f"--tile {tile}: expected a number of pixels of at least 16.")
    opened = Run.open(run)
    example = None if style is None else coloured_picture(style)
    choice = Choice(direction=direction, style=example, strength=strength, task=task)
    with progress_bar() as bar:
        done = apply_to_files(
            opened,
            source,
            out,
            choice=choice,
            masks=mask,
            at=checkpoint(at),
            tile=tile,
            progress=lambda finished, total: bar("pictures", finished, total),
        )
    for name, reason in done.skipped.items():
        print(f"Left out: {name}: {reason}")
    print(f"{len(done.written):,} written: {done.written[0] if len(done.written) == 1 else out}")
