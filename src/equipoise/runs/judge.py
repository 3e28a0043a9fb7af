"""Judging a run: at its end, from any of its checkpoints, and while it trains, without changing anything in it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from equipoise.core.disk import disk_errors, remove_folder, replace_file
from equipoise.core.errors import DataError, RecipeError
from equipoise.core.game import Clock, Game, LatentGame
from equipoise.core.seeding import shuffled, stable_seed
from equipoise.data.source import Source, Split
from equipoise.doctor.finding import Finding
from equipoise.engine.checkpoint import Checkpoints
from equipoise.engine.trainer import Record, Trainer
from equipoise.games.restorer import Restorer
from equipoise.metrics.memorisation import memorisation
from equipoise.runs.codes import agreement
from equipoise.runs.evaluation import FEWEST, Evaluation, evaluate
from equipoise.runs.extractors import Extractor
from equipoise.runs.reconstructed import reconstruction_row
from equipoise.runs.restored import Restoration, evaluate_restoration, judging_network
from equipoise.runs.sampling import samples, settled
from equipoise.runs.scores import LOWER, OF_PICTURES, OF_SAMPLES, Scored
from equipoise.runs.watcher import Watcher, now

if TYPE_CHECKING:
    from equipoise.runs.run import Run

MOST_KNOWN, NUM_PAIRS = 10_000, 8
"""Training examples among which copies are looked for, and the pairs that are shown."""

Referee = Callable[[int, Mapping[str, float], Sequence[Finding]], None]
"""Is told of every evaluation: the step, the scores of the fakes, and what the doctor finds. It may raise `Stop`."""


class Stop(Exception):
    """Training ends here, as if it had been planned so long: it is saved, evaluated and reported."""


class Judge:
    """Evaluates a run while it trains, keeps the best checkpoint in best/, and ends training that gets no better.

    It is an observer like the watcher: the averaged weights are looked at, and nothing changes, no random state either.
    """

    def __init__(self, run: "Run", parts: Split, watcher: Watcher, referee: Referee | None = None):
        self.run, self.parts, self.watcher, self.referee = run, parts, watcher, referee
        self.settings = run.recipe.judging
        self.entries: list[dict[str, Any]] = []
        """Those of this training, in the order of their steps."""

    def begin(self, trainer: Trainer) -> None:
        """Start, or go on where a resumed run stands: what later steps were worth will be found again."""
        self.trainer = trainer
        if self.settings.every is not None:
            self.check(trainer.game)
        self.entries = self.undo_from(trainer.clock.step + 1)

    def check(self, game: Game) -> None:
        """Raise `RecipeError` for a game that cannot be judged, or not by the metric of the recipe."""
        own = self.run.recipe.game.measured(self.run.recipe.data)
        if own and self.settings.metric not in own:
            raise RecipeError(
                f"judging.metric = {self.settings.metric} is not measured of this game. Use one of: {', '.join(own)}."
            )
        if own:
            return
        restores = isinstance(game, Restorer)
        if not restores and not isinstance(game, LatentGame):
            raise RecipeError("judging.every: this game makes no examples from latents alone. Leave it out.")
        if (self.settings.metric in OF_PICTURES) != restores:
            fitting = ", ".join(OF_PICTURES if restores else OF_SAMPLES)
            raise RecipeError(
                f"judging.metric = {self.settings.metric} is not measured of this game. Use one of: {fitting}."
            )
        if restores:
            self.network = judging_network(self.run)

    def undo_from(self, step: int) -> list[dict[str, Any]]:
        """Forget what was measured from a step on; the entries of this training that are left."""
        everything = entries(self.run.folder)
        kept = [entry for entry in everything if not entry.get("during_training") or entry["step"] < step]
        if len(kept) < len(everything):
            write_entries(self.run.folder, kept)
            best_checkpoints(self.run.folder).forget_from(step)
        return [entry for entry in kept if entry.get("during_training")]

    def before_update(self, clock: Clock, player: str, parameters: Mapping[str, nn.Parameter]) -> None:
        """Nothing."""

    def on_event(self, clock: Clock, kind: str, message: str) -> None:
        """Nothing."""

    def after_step(self, clock: Clock, record: Record) -> None:
        every = self.settings.every
        if every is None or not (clock.every(every) or clock.step == clock.total):
            return
        try:
            result = self.look()
        except ValueError as error:  # NaN in the fakes, too few examples
            self.watcher.on_event(clock, "warning", f"No evaluation at step {clock.step}: {error}")
            return
        entry = metrics_entry(clock.step, result) | {"during_training": True}
        self.entries = [*self.undo_from(clock.step), entry]  # a rollback may have come by here before
        write_entries(self.run.folder, [*entries(self.run.folder), entry])
        scores = values_of(result)
        if self.watcher.board:
            self.watcher.board.scalars(clock.step, {f"score/{name}": value for name, value in scores.items()})
        shown = "  ".join(f"{name} {value:.3g}" for name, value in scores.items() if not name.endswith("_std"))
        self.watcher.view.event(f"Step {clock.step}: {shown}")
        if self.best() is entry:
            self.keep(clock.step)
        if self.referee is not None:
            self.referee(clock.step, scores, self.watcher.diagnosis.findings())
        self.check_patience(clock)

    def look(self) -> Evaluation | Restoration | Scored:
        """Measure the averaged weights."""
        game, settings = self.trainer.game, self.run.recipe.game
        if settings.own_scores:
            with self.trainer.averaging.applied(), in_eval(game):
                return settings.scored(self.run, game, self.parts.held_out, num=self.settings.num_samples)
        if isinstance(game, Restorer):
            with self.trainer.averaging.applied(), in_eval(game):
                held_out, num = self.parts.held_out, self.settings.num_samples
                return evaluate_restoration(self.run, game, held_out, judge=self.network, num=num)
        assert isinstance(game, LatentGame)
        averaged = settled(game, place=self.run.place) if self.trainer.averaging.averages else nullcontext()
        with self.trainer.averaging.applied(), averaged:
            return judged(self.run, game, self.parts)

    def best(self) -> dict[str, Any]:
        """The best entry so far by the metric of the recipe, the earlier of two that are equal."""
        name = self.settings.metric
        sign = 1 if name in LOWER else -1
        return min(self.entries, key=lambda entry: sign * entry["values"][name])

    def keep(self, step: int) -> None:
        """Save the state of this step as the best one."""
        kept = best_checkpoints(self.run.folder, identity=self.identity())
        kept.save(step, self.trainer.snapshot())
        with disk_errors("removing a checkpoint", kept.folder):
            for other in kept.steps():
                if other != step:
                    remove_folder(kept.path(other))

    def identity(self) -> Mapping[str, Any]:
        """What this run writes into its checkpoints."""
        return self.trainer.checkpoints.identity if self.trainer.checkpoints else {}

    def check_patience(self, clock: Clock) -> None:
        """Raise `Stop` if nothing got better for as many evaluations as the recipe allows."""
        patience, best = self.settings.patience, self.best()
        since = sum(entry["step"] > best["step"] for entry in self.entries)
        if patience is not None and since >= patience and clock.step < clock.total:
            value = best["values"][self.settings.metric]
            raise Stop(
                f"No better {self.settings.metric} than {value:.4g} of step {best['step']} in {since} evaluations: "
                f"stopped at step {clock.step}. The best weights: equipoise sample {self.run.folder} --at best"
            )

    def has_judged(self, step: int) -> bool:
        """Whether the final evaluation of this step is there already."""
        return bool(self.entries) and self.entries[-1]["step"] == step


def judged(run: "Run", game: LatentGame, parts: Split, *, num: int | None = None, seed: int = 0) -> Evaluation:
    """Measure a game as it is against held-out reals, with training examples as the floor. Raises `DataError`."""
    held_out, train, fake, labels = drawn(run, game, parts, num=num, seed=seed)
    extractor = run.extractor(parts.train, parts.held_out)
    return evaluate(extractor, held_out, fake=fake, real_train=train, requested=labels, seed=seed)


def judged_thoroughly(
    run: "Run",
    game: LatentGame,
    parts: Split,
    *,
    num: int | None = None,
    seed: int = 0,
    extractor: Extractor | None = None,
) -> tuple[Evaluation, Tensor | None]:
    """As `judged`, with further metrics, how much FID would move with other samples, and whether fakes are copies.

    `extractor` measures in place of the network that was fitted to the data, which goes on looking for copies. Of
    images the answer holds a row of the fakes that resemble a training example most, and a row of those examples.
    """
    held_out, train, fake, labels = drawn(run, game, parts, num=num, seed=seed)
    own = run.extractor(parts.train, parts.held_out)
    requested = labels if extractor is None else None
    result = evaluate(
        extractor or own, held_out, fake=fake, real_train=train, requested=requested, seed=seed, thorough=True
    )
    found_codes = tuple(agreement(game, own, parts.held_out, seed=stable_seed(seed, "codes"), place=run.place))
    copies = reconstruction_row(game, parts.held_out, run.place)
    result = replace(result, further=(*result.further, *found_codes, *copies))
    if own.kind == "coordinates":
        return result, None  # in the plane, every point has near neighbours
    known = parts.train.examples(shuffled(len(parts.train), seed, "copies")[:MOST_KNOWN]).cpu()
    unseen = parts.held_out.examples(torch.arange(len(parts.held_out))).cpu()
    mirrored = own.features(known.flip(-1)) if known.ndim == 4 else None
    found = memorisation(
        *(own.features(x) for x in (fake, known, unseen)), mirrored=mirrored, num_pairs=NUM_PAIRS, seed=seed
    )
    pairs = torch.cat([fake[[p.fake for p in found.pairs]], known[[p.train for p in found.pairs]]])
    return replace(result, memorisation=found), pairs if pairs.ndim == 4 else None


def drawn(
    run: "Run", game: LatentGame, parts: Split, *, num: int | None, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """What is compared: held-out and training examples of a run, fakes of a game, and the classes asked for."""
    if num is not None and num < FEWEST:
        raise RecipeError(f"--num {num}: expected at least {FEWEST} samples to judge by.")
    count = min(num or run.recipe.judging.num_samples, len(parts.held_out), len(parts.train))
    if count < FEWEST:
        raise DataError(
            f"{count} held-out examples are too few to judge by: expected at least {FEWEST}. Give more data, or "
            f"raise data.held_out = {run.recipe.data.held_out}; at most three tenths of the data are held out."
        )
    held_out, train = some(parts.held_out, count, seed), some(parts.train, count, seed)
    labels = held_out[1] if game.num_classes else None
    fake = samples(game, count, seed=stable_seed(seed, "evaluation"), labels=labels, place=run.place)
    return held_out[0].cpu(), train[0].cpu(), fake, labels


def best_checkpoints(folder: Path, *, identity: Mapping[str, Any] | None = None) -> Checkpoints:
    """Where a run keeps its best state."""
    return Checkpoints(folder / "best", keep=1, identity=identity)


def entries(folder: Path) -> list[Any]:
    """The entries of metrics.json; a file that cannot be understood is set aside."""
    path = folder / "metrics.json"
    try:
        return list(json.loads(path.read_text("utf-8"))) if path.exists() else []
    except (ValueError, TypeError, RecursionError):
        path.rename(path.with_name("metrics.damaged.json"))
        return []


def newest_entries(folder: Path) -> list[Any]:
    """Of the entries of metrics.json those of the highest step, the newest first: how good a run is by now."""
    everything = entries(folder)
    last = max((entry["step"] for entry in everything), default=0)
    return [entry for entry in reversed(everything) if entry["step"] == last]


def provenance_of(result: Restoration) -> dict[str, Any]:
    """What the scores of restored pictures depend on beside the answers."""
    return {
        "features": result.features,
        "data": result.data,
        "num_fake": result.num_pictures,
        "num_real": result.num_pictures,
        "luma": result.luma,
        "shave": result.shave,
        **({"window": list(result.window)} if result.window else {}),
    }


def write_entries(folder: Path, content: Sequence[Any]) -> None:
    """Write metrics.json anew."""
    with disk_errors("writing the metrics", folder):
        replace_file(folder / "metrics.json", json.dumps(list(content), indent=1).encode())


def values_of(result: Evaluation | Restoration | Scored) -> Mapping[str, float]:
    """The scores by name."""
    if isinstance(result, Scored):
        return result.values
    return vars(result.answer if isinstance(result, Restoration) else result.fake)


def metrics_entry(step: int, result: Evaluation | Restoration | Scored) -> dict[str, Any]:
    """An entry of metrics.json."""
    if isinstance(result, Scored):
        return {"step": step, "time": now(), **result.to_json()}
    if isinstance(result, Restoration):
        provenance = provenance_of(result)
        values = {"values": vars(result.answer), "given": vars(result.given)}
        return {"step": step, "time": now(), **provenance, **values, "provenance": provenance}
    return {
        "step": step,
        "time": now(),
        "features": result.feature_space,
        "num_fake": result.num_samples,
        "num_real": result.num_samples,
        "values": vars(result.fake),
        "floor": vars(result.floor),
        "class_shares": result.class_shares,
        "real_class_shares": result.real_class_shares,
        "agreement": result.agreement,
        "agreement_floor": result.agreement_floor,
        **{name: value for name, value in result.to_json().items() if name in CARRIED and value},
    }


CARRIED = ("provenance", "fid_interval", "cautions", "memorisation", "further")
"""What an entry takes from an evaluation as it is, where there is such a thing."""


@contextmanager
def in_eval(game: nn.Module) -> Iterator[None]:
    """Inside, the game is in eval mode; afterwards in that of before."""
    training = game.training
    game.eval()
    try:
        yield
    finally:
        game.train(training)


def some(source: Source, num: int, seed: int) -> tuple[Tensor, Tensor | None]:
    """`num` examples drawn without replacement, and their labels."""
    chosen = torch.randperm(len(source), generator=torch.Generator().manual_seed(stable_seed(seed, "some")))[:num]
    return source.examples(chosen), source.labels(chosen).cpu() if source.classes else None
