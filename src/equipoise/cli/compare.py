"""`equipoise compare`: runs beside each other."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def compare(
    *runs: Path,
    judge: Path | None = None,
    num: int | None = None,
    page: Path = Path("compare.html"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Compare runs: scores with their spread over seeds, whether the difference is more than chance, recipes, pictures.

    Runs that differ in nothing but the seed count as repetitions of one recipe.

    Parameters
    ----------
    runs
        Run folders, the one to compare with first.
    judge
        Measure all of them anew in the feature space of this run: needed where their scores differ in provenance.
    num
        How many samples for that; by default what the recipe of the judge says.
    page
        The HTML page to write, with curves and sample grids side by side.
    as_json
        Print everything as JSON.
    """
    from rich.console import Console
    from rich.table import Table

    from equipoise.runs import comparison
    from equipoise.runs.comparison import told

    found = comparison.compare(runs, judge=judge, num=num)
    comparison.write_page(found, page)
    if as_json:
        print(json.dumps(found.to_json(), indent=1, default=str))
        return
    console = Console()
    if found.refused:
        console.print(f"The scores cannot be compared. {found.refused}", markup=False)
    else:
        table = Table(title="Scores, mean ± standard deviation over runs", title_justify="left")
        for column in ("recipe", "runs", *found.metrics):
            table.add_column(column, justify="left" if column == "recipe" else "right", overflow="fold")
        for group in found.groups:
            table.add_row(
                group.name, str(len(group.members)), *(told(group.scores(metric)) for metric in found.metrics)
            )
        console.print(table)
        for one in found.members:
            if one.outdated:
                console.print(one.outdated, markup=False)
        for test in found.tests:
            console.print(f"{test.group}: {test.metric} {test.difference:+.3g}; {test.words}", markup=False)
    for key, values in found.differences.items():
        console.print(f"{key}: {' | '.join(map(str, values))}", markup=False)
    print(f"Page: {page}")
