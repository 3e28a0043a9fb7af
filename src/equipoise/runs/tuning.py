"""Hyper-parameter search: trainings of one recipe with other settings, each better informed than the last.

A study is a folder: what is searched (study.json, base.toml), every trial so far (journal.log, which several processes
may share), a run folder for each, and in the end the best recipe as a file. Optuna proposes and prunes.
"""

import fcntl
import json
import os
import shutil
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from equipoise.core.disk import disk_errors, replace_file
from equipoise.core.errors import DivergedError, EquipoiseError, RecipeError, RunBusyError
from equipoise.core.seeding import stable_seed
from equipoise.doctor.finding import Finding
from equipoise.runs.charts import Chart, Line, array, chart, number, points_chart
from equipoise.runs.judge import Stop, entries
from equipoise.runs.pages import rendered
from equipoise.runs.piloting import RemediesUsedUp
from equipoise.runs.recipe import Recipe, dotted, from_dict, parse_setting, read_toml, to_dict, to_toml, with_settings
from equipoise.runs.run import Run
from equipoise.runs.scores import LOWER

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial

EVALUATIONS = 4
"""Of each trial while it trains, where the recipe does not say how often."""
START = 4
"""Trials before the search learns from them, and before any is pruned."""
GRACE = timedelta(minutes=2)
"""A trial that names no process is nobody's after so long."""


@dataclass(frozen=True)
class Range:
    """A number between two others; on a logarithmic scale where both are positive."""

    key: str
    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    key: str
    values: tuple[Any, ...]


Dimension = Range | Choice

USUAL = (
    Range("players.D.learning_rate", 2e-5, 1e-2),
    Range("players.G.learning_rate", 2e-5, 1e-2),
    Range("game.penalties.r1", 1e-3, 100.0),
)
"""What is searched unless somebody says otherwise: what matters most, and is least known."""

PRIORS = (
    {"players.D.learning_rate": 2e-4, "players.G.learning_rate": 2e-4, "game.penalties.r1": 0.5},  # DCGAN with R1
    {"players.D.learning_rate": 1e-3, "players.G.learning_rate": 1e-3, "game.penalties.r1": 0.1},
    {"players.D.learning_rate": 4e-4, "players.G.learning_rate": 1e-4, "game.penalties.r1": 0.5},  # two time scales
)
"""Tried first, after the recipe as it is: settings that the literature found to work, in all that is searched."""


@dataclass(frozen=True)
class Search:
    """What a study searches."""

    folder: Path
    recipe: Recipe
    origin: str
    over: tuple[Dimension, ...]
    metric: str
    storage: str | None = None
    """A database that Optuna knows, such as "sqlite:///study.db"; by default a journal file in the folder."""

    @property
    def direction(self) -> str:
        return "minimize" if self.metric in LOWER else "maximize"

    def card(self) -> dict[str, Any]:
        """study.json."""
        over = [{"kind": type(one).__name__, **asdict(one)} for one in self.over]
        return {"origin": self.origin, "metric": self.metric, "storage": self.storage, "over": over}


@dataclass(frozen=True)
class Found:
    """What a study came to."""

    settings: Mapping[str, Any]
    score: float
    """Of the best trial."""
    again: tuple[float, ...]
    """Of the same recipe from other seeds."""
    given: float | None
    """Of the recipe as it was given; None where that could not be trained."""
    trials: int

    def words(self, metric: str) -> str:
        """How good, and how sure."""
        scores = [self.score, *self.again]
        spread = f", {mean(scores):.4g} ± {stdev(scores):.2g} over {len(scores)} seeds" if len(scores) > 1 else ""
        given = "could not be trained" if self.given is None else f"reached {self.given:.4g}"
        return f"{metric} {self.score:.4g} in {self.trials} trials{spread}. The recipe as given {given}."


# ---------------------------------------------------------------- what is searched


def parse_dimension(text: str) -> Dimension:
    """A dimension as on the command line: key=low..high or key=value,value.

    >>> parse_dimension("game.penalties.r1=0.01..10"), parse_dimension("game.loss=hinge,non-saturating")
    (Range(key='game.penalties.r1', low=0.01, high=10.0), Choice(key='game.loss', values=('hinge', 'non-saturating')))
    """
    key, _, value = text.partition("=")
    low, dots, high = value.partition("..")
    wrong = f"--over {text}: expected key=low..high with numbers, or key=value,value."
    if dots:
        try:
            one = Range(key.strip(), float(low), float(high))
        except ValueError as error:
            raise RecipeError(wrong) from error
        if not one.low < one.high:
            raise RecipeError(f"{wrong} {low} is not below {high}.")
        return one
    values = tuple(parse_setting(f"{key}={part}")[1] for part in value.split(",") if part.strip())
    if not key.strip() or len(values) < 2:
        raise RecipeError(f"{wrong} At least two values are needed.")
    return Choice(key.strip(), values)


def placed(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with values in the place of numbers; a schedule keeps its shape and is scaled, a lazy weight lazy."""
    changes, now = {}, dotted(to_dict(recipe))
    for key, value in settings.items():
        former = now.get(key)
        if isinstance(former, Mapping) and former.get("start"):
            changes[key] = {**former, "start": value, "end": former["end"] * value / former["start"]}
        elif f"{key}.weight" in now:
            changes[f"{key}.weight"] = value
        else:
            changes[key] = value
    return with_settings(recipe, changes)


def given(recipe: Recipe, over: Sequence[Dimension]) -> dict[str, Any]:
    """The values that the recipe has now in all that is searched, as far as they lie in there."""
    now, found = dotted(to_dict(recipe)), {}
    for one in over:
        value = now.get(one.key, now.get(f"{one.key}.weight"))
        value = value.get("start") if isinstance(value, Mapping) else value
        if isinstance(one, Choice) and value in one.values:
            found[one.key] = value
        elif isinstance(one, Range) and isinstance(value, int | float) and one.low <= value <= one.high:
            found[one.key] = float(value)
    return found


def begin(search: Search) -> Search:
    """Create the study's folder, or find it as it was. Raises `RecipeError` if it searches something else."""
    for one in search.over:  # every key is valid
        for value in (one.low, one.high) if isinstance(one, Range) else one.values:
            placed(search.recipe, {one.key: value})
    card, base = json.dumps(search.card(), indent=1), to_toml(search.recipe)
    if (search.folder / "study.json").exists():
        here = (search.folder / "study.json").read_text("utf-8"), (search.folder / "base.toml").read_text("utf-8")
        if here != (card, base):
            raise RecipeError(
                f"{search.folder} holds a study of something else (see study.json and base.toml in it). Go on with it "
                f"by `equipoise tune {search.folder}`, or choose another folder by --folder."
            )
        return search
    found = {one.name.lstrip(".") for one in search.folder.iterdir()} if search.folder.exists() else set()
    if "study.json" not in found and any(not name.startswith(("base.toml", "study.json")) for name in found):
        raise RecipeError(f"{search.folder} is not empty and holds no study: choose a folder that is new or empty.")
    if "study.json" not in found:  # otherwise another process has just begun it
        with disk_errors("creating the study", search.folder):
            search.folder.mkdir(parents=True, exist_ok=True)
            replace_file(search.folder / "base.toml", base.encode())
            replace_file(search.folder / "study.json", card.encode())
    return begin(search)


def opened(folder: Path) -> Search:
    """A study that exists. Raises `RecipeError` if it is none, or damaged."""
    try:
        card = json.loads((folder / "study.json").read_text("utf-8"))
        over = tuple(
            Range(one["key"], one["low"], one["high"])
            if one["kind"] == "Range"
            else Choice(one["key"], tuple(one["values"]))
            for one in card["over"]
        )
        recipe = from_dict(read_toml(folder / "base.toml"))
        return Search(folder, recipe, card["origin"], over, card["metric"], card["storage"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{folder} holds no study that can be read: {error}.") from error


# ---------------------------------------------------------------- searching


def tune(search: Search, *, trials: int, repeats: int = 2, quiet: bool = False) -> Found:
    """Search until there are so many trials, then train the best recipe anew from other seeds; write what was found.

    Trials that a killed process left are taken up where their run stands. Other processes may work on the same study.
    """
    study = study_of(search)
    while True:
        with alone(search.folder):
            trial = abandoned(study) or next_trial(study, search, trials)
        if trial is None:
            break
        play(search, study, trial)
        if not quiet:
            print(told(study.trials[trial.number], search), flush=True)
    again = tuple(repeated(search, best(study).params, repeats))
    return write(search, study, again)


def study_of(search: Search) -> "Study":
    """The study in its storage, with the first trials laid out."""
    optuna = optuna_or_error()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage: Any = search.storage
    if storage is None:
        backend = optuna.storages.journal.JournalFileBackend(str(search.folder / "journal.log"))
        storage = optuna.storages.JournalStorage(backend)
    with alone(search.folder):
        study = optuna.create_study(
            study_name=search.folder.name,
            storage=storage,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=START),
            direction=search.direction,
            load_if_exists=True,
        )
        if not study.trials:
            keys = {one.key for one in search.over}
            for first in (given(search.recipe, search.over), *PRIORS):
                values = {key: value for key, value in first.items() if key in keys}
                if values:
                    study.enqueue_trial(values, skip_if_exists=True)
    return study


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Inside, no other process hands out trials of the study."""
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def next_trial(study: "Study", search: Search, trials: int) -> "Trial | None":
    """A new trial with its values drawn; None if there are enough."""
    waiting = [one for one in study.trials if one.state.name == "WAITING"]
    if len(study.trials) - len(waiting) >= trials:
        return None
    with warnings.catch_warnings(action="ignore"):  # searching several settings together is called experimental
        study.sampler = optuna_or_error().samplers.TPESampler(
            seed=stable_seed(search.recipe.training.seed, "trial", len(study.trials)) % 2**32,
            multivariate=True,
            constant_liar=True,
            n_startup_trials=START,
        )
    trial = study.ask()
    trial.set_user_attr("process", f"{socket.gethostname()} {os.getpid()}")
    return trial


def abandoned(study: "Study") -> "Trial | None":
    """A trial whose process died, taken over; None where all that are under way are somebody's."""
    from optuna.trial import Trial

    for one in study.trials:
        if one.state.name != "RUNNING" or alive(one):
            continue
        trial = Trial(study, one._trial_id)
        trial.set_user_attr("process", f"{socket.gethostname()} {os.getpid()}")
        return trial
    return None


def alive(trial: Any) -> bool:
    """Whether a trial's process may still be at it."""
    host, _, process = trial.user_attrs.get("process", "").partition(" ")
    if not process:
        return trial.datetime_start is not None and datetime.now() - trial.datetime_start < GRACE
    return host != socket.gethostname() or Path(f"/proc/{process}").exists()


def play(search: Search, study: "Study", trial: "Trial") -> None:
    """Train a trial to its end, or until it is clear that it is not worth it."""
    from optuna.trial import TrialState

    values = {
        one.key: trial.suggest_float(one.key, one.low, one.high, log=one.low > 0)
        if isinstance(one, Range)
        else trial.suggest_categorical(one.key, one.values)
        for one in search.over
    }
    pruned: list[str] = []

    def referee(step: int, scores: Mapping[str, float], findings: Sequence[Finding]) -> None:
        with warnings.catch_warnings(action="ignore"):  # a resumed run reports some steps again
            trial.report(scores[search.metric], step)
        critical = [finding.title for finding in findings if finding.active and finding.severity == "critical"]
        if critical or trial.should_prune():
            pruned.append(f"{critical[0]} at step {step}" if critical else f"behind others at step {step}")
            raise Stop(f"Pruned: {pruned[0]}.")

    folder = search.folder / "trials" / f"{trial.number:04d}"
    try:
        recipe = placed(search.recipe, values)
        run = trained(search, recipe, folder, referee)
        score = entries(run.folder)[-1]["values"][search.metric]
    except (DivergedError, RemediesUsedUp) as error:
        pruned.append(str(error).split(":")[0])
        score = None
    except RunBusyError:
        raise
    except (RecipeError, IndexError, KeyError) as error:
        trial.set_user_attr("why", str(error))
        study.tell(trial, state=TrialState.FAIL)
        return
    if pruned or score is None:
        trial.set_user_attr("why", pruned[0] if pruned else "never evaluated")
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, score)


def trained(search: Search, recipe: Recipe, folder: Path, referee: Any = None) -> Run:
    """A run of the recipe, trained in the folder or gone on with; all runs of a study are judged by one network."""
    every = recipe.judging.every or max(recipe.training.steps // EVALUATIONS, 1)
    recipe = with_settings(recipe, {"judging.every": every, "judging.metric": search.metric})
    if (folder / "run.json").exists():
        run = Run.open(folder)
        has_saved = (folder / "checkpoints").exists()
        return run.train(resume=has_saved, quiet=True, referee=referee)
    if folder.exists():
        shutil.rmtree(folder)  # what a killed process had begun to create
    run = Run.create(recipe, origin=search.origin, folder=folder)
    judge = search.folder / "features"
    if judge.exists():
        shutil.copytree(judge, folder / "features")
    run = run.train(quiet=True, referee=referee)
    if not judge.exists() and (folder / "features").exists():
        draft = search.folder / f".features-{os.getpid()}"
        shutil.copytree(folder / "features", draft)
        with disk_errors("keeping the network that judges", judge):
            try:
                draft.rename(judge)
            except OSError:  # another process was faster
                shutil.rmtree(draft)
    return run


def repeated(search: Search, values: Mapping[str, Any], repeats: int) -> Iterator[float]:
    """Scores of the best recipe from other seeds; what another process is at is left to it, and asked for at the end.

    So the process that ends last knows all of them.
    """
    recipe, scores = placed(search.recipe, values), dict[int, float]()
    name = "-".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in values.values())
    for seed in 2 * [recipe.training.seed + number_ for number_ in range(1, repeats + 1)]:
        folder = search.folder / "repeats" / f"{name}-seed-{seed}".replace("/", "_")
        with suppress(RunBusyError, DivergedError, RemediesUsedUp):
            if seed not in scores:
                run = trained(search, with_settings(recipe, {"training.seed": seed}), folder)
                scores[seed] = entries(run.folder)[-1]["values"][search.metric]
    yield from scores.values()


def best(study: "Study") -> Any:
    """The best finished trial. Raises `EquipoiseError` where none finished."""
    if not any(one.state.name == "COMPLETE" for one in study.trials):
        ended = [one for one in study.trials if one.state.is_finished()]
        whys = sorted({one.user_attrs.get("why", "unknown") for one in ended})
        raise EquipoiseError(
            f"None of {len(ended)} trials finished: {'; '.join(whys[:3])}. Narrow the search by --over, or "
            "start from another recipe."
        )
    return study.best_trial


def optuna_or_error() -> Any:
    """The library, or what to install."""
    try:
        import optuna
    except ImportError as error:
        raise EquipoiseError("`equipoise tune` needs Optuna: pip install 'equipoise[tune]'.") from error
    return optuna


# ---------------------------------------------------------------- telling


def told(trial: Any, search: Search) -> str:
    """A trial in one line."""
    values = "  ".join(f"{one.key} {short(trial.params.get(one.key))}" for one in search.over)
    what = f"{search.metric} {trial.value:.4g}" if trial.value is not None else trial.state.name.lower()
    why = trial.user_attrs.get("why")
    return f"trial {trial.number}: {what}  {values}" + (f"  ({why})" if why else "")


def short(value: Any) -> str:
    """A value as people write it."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def write(search: Search, study: "Study", again: tuple[float, ...]) -> Found:
    """Write best.toml, result.json and tune.html."""
    winner = best(study)
    first = next((one for one in study.trials if one.value is not None and is_given(one, search)), None)
    finished = [one for one in study.trials if one.state.is_finished()]
    found = Found(winner.params, winner.value, again, first.value if first else None, len(finished))
    page = rendered(
        "tuning.html.jinja",
        title=search.folder.name,
        words=found.words(search.metric),
        metric=search.metric,
        keys=[one.key for one in search.over],
        trials=[
            row(one, search, best=one.number == winner.number)
            for one in study.trials
            if one.state.name != "WAITING"  # laid out, and never begun
        ],
        charts=charts(search, study),
        recipe=to_toml(placed(search.recipe, winner.params)),
        notices=[],
    )
    with disk_errors("writing the result", search.folder, num_bytes=len(page)):
        replace_file(search.folder / "best.toml", to_toml(placed(search.recipe, winner.params)).encode())
        replace_file(search.folder / "result.json", json.dumps(asdict(found), indent=1).encode())
        replace_file(search.folder / "tune.html", page)
    return found


def is_given(trial: Any, search: Search) -> bool:
    """Whether a trial was the recipe as it was given."""
    values = given(search.recipe, search.over)
    return len(values) == len(search.over) and all(trial.params.get(key) == value for key, value in values.items())


def row(trial: Any, search: Search, *, best: bool) -> dict[str, Any]:
    """A line of the table."""
    return {
        "number": trial.number,
        "state": "best" if best else trial.state.name.lower(),
        "tone": "good" if best else "calm" if trial.state.name == "COMPLETE" else "warn",
        "score": "" if trial.value is None else number(trial.value),
        "values": [short(trial.params.get(one.key, "")) for one in search.over],
        "why": trial.user_attrs.get("why", ""),
    }


def charts(search: Search, study: "Study") -> list[Chart]:
    """The scores in the order of the trials, and against each number that was searched."""
    done = [one for one in study.trials if one.value is not None]
    choose = min if search.metric in LOWER else max
    numbers, scores = array([one.number for one in done]), array([one.value for one in done])
    so_far = array([choose(scores[: index + 1]) for index in range(len(scores))])
    drawn = []
    if len(done) > 1:
        lines = [Line("trial", numbers, scores, 0, dashed=True), Line("best so far", numbers, so_far, 1)]
        drawn.append(
            chart(f"{search.metric} by trial", "In the order in which they were begun.", lines, exact=True, x="trial")
        )
    for one in search.over:
        if isinstance(one, Range) and len(done) > 2:
            values = array([trial.params[one.key] for trial in done])
            drawn.append(
                points_chart(one.key, f"Each point is a trial: {search.metric} above its value.", values, scores)
            )
    return drawn
