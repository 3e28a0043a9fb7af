"""`equipoise sample`: pictures, or the numbers themselves, from a trained generator."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from equipoise.core.errors import RecipeError


def sample(
    run: Path,
    /,
    *,
    num: int = 64,
    seed: int = 0,
    class_: Annotated[str | None, Parameter(name="--class")] = None,
    truncation: float = 1.0,
    interpolate: Annotated[bool, Parameter(negative=())] = False,
    at: str = "newest",
    out: Path | None = None,
) -> None:
    """Generate examples with the averaged weights of a checkpoint.

    Parameters
    ----------
    run
        The run folder.
    num
        How many examples, 1 to 4096.
    seed
        The same seed gives the same examples.
    class_
        Only this class, by name or number; for conditional runs. By default all classes in turn.
    truncation
        Below 1: less variety, more typical examples: styles, where there are any, or latents nearer to their centre.
    interpolate
        Rows of eight steps between two latents each.
    at
        Which checkpoint: newest, best, or a step.
    out
        The picture to write, .png; by default samples/ in the run folder. An .npy file takes the values themselves,
        float32 in the units of the data, with a label beside it.
    """
    from equipoise.cli.show import checkpoint
    from equipoise.core.disk import disk_errors
    from equipoise.runs.provenance import Label, write_array
    from equipoise.runs.run import Run

    if not 1 <= num <= 4096:
        raise RecipeError(f"--num {num}: expected a number from 1 to 4096.")
    if interpolate and truncation != 1.0:
        raise RecipeError("--interpolate walks between whole latents: it takes no --truncation. Use one of the two.")
    opened = Run.open(run)
    where = checkpoint(at)
    step = opened.step_of(where)
    facts = [
        "interpolation" if interpolate else "samples",
        f"step-{step}",
        f"seed-{seed}",
        f"num-{num}",
    ]
    facts += [] if class_ is None else [f"class-{class_}"]
    facts += [] if truncation == 1.0 else [f"truncation-{truncation:g}"]
    path = out or opened.folder / "samples" / f"{'-'.join(facts)}.png".replace("/", "_")
    if path.suffix not in (".png", ".npy"):
        raise RecipeError(f"--out {path}: expected a name that ends in .png or .npy.")
    if interpolate:
        x = opened.interpolate(max(num // 8, 1), 8, seed=seed, label=class_, at=where)
    else:
        x = opened.sample(num, seed=seed, label=class_, truncation=truncation, at=where)
    if path.suffix == ".npy":
        with disk_errors("writing samples", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_array(x.numpy(), path, Label(run=opened.id, step=step, seed=seed))
    else:
        opened.write_samples(x, path, seed=seed, columns=8 if interpolate else None, step=step)
    print(path)
