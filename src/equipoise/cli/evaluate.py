"""`equipoise evaluate`: how good the samples of a run are."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def evaluate(
    run: Path,
    /,
    *,
    num: int | None = None,
    seed: int = 0,
    at: str = "newest",
    data: Path | None = None,
    features: str | None = None,
    resizer: Literal["bilinear-tf1", "bicubic-antialiased"] = "bilinear-tf1",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Measure samples of a run against held-out real examples, with real against real beside it.

    Of a run that restores pictures, whole held-out pictures are restored and compared with their targets.

    Parameters
    ----------
    run
        The run folder.
    num
        How many samples, at most as many as examples are held out; by default what the recipe says.
    seed
        Of the samples.
    at
        Of which checkpoint: newest, best, or a step.
    data
        Of a run that restores pictures: other pictures, such as a test set, restored from the same degradation, or from
        what lies beside them where names end in _HR and _LR, _gt and _lq, or _clean and _noisy.
    features
        What examples are measured through: inception:FILE with the weights of FID, or FILE.py:FUNCTION that returns a
        network from images to features. By default a small network that is fitted to the data once.
    resizer
        How images come to the size of Inception: as in the original FID, or as in clean-fid.
    json
        Print the result as JSON.
    """
    import json as encoder

    from equipoise.cli.show import checkpoint, metrics_table, restoration_table, scores_table
    from equipoise.core.errors import RecipeError
    from equipoise.runs.extractors import extractor_of
    from equipoise.runs.run import Run

    extractor = None if features is None else extractor_of(features, resizer=resizer)
    opened = Run.open(run)
    if opened.recipe.game.own_scores:
        if features is not None:
            raise RecipeError("--features: this game is judged in a way of its own. Leave it out.")
        scored = opened.evaluate_own(data=data, num=num, at=checkpoint(at))
        opened.report()
        print(encoder.dumps(scored.to_json(), indent=1)) if json else scores_table(scored)
        return
    if opened.examples.given is not None:
        if features is not None:
            raise RecipeError("--features: restored pictures are judged by PSNR, SSIM and a network of their own.")
        restoration = opened.evaluate_restoration(data=data, num=num, at=checkpoint(at))
        opened.report()
        if json:
            print(encoder.dumps(restoration.to_json(), indent=1))
        else:
            restoration_table(restoration)
        return
    if data is not None:
        raise RecipeError("--data: samples are measured against the data of the run. Leave it out.")
    result = opened.evaluate(num=num, seed=seed, at=checkpoint(at), extractor=extractor)
    opened.report()
    if json:
        print(encoder.dumps(result.to_json(), indent=1))
    else:
        metrics_table(result)
