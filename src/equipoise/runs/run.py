"""A run: the folder of one training. Everything that it did, is and can go on with is in there."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from equipoise.core.disk import disk_errors, free_bytes, readable, replace_file
from equipoise.core.errors import (
    CheckpointError,
    DataError,
    DiskError,
    DivergedError,
    EquipoiseError,
    Interrupted,
    RecipeError,
)
from equipoise.core.game import Game, LatentGame
from equipoise.core.seeding import stable_seed
from equipoise.data.labelled import PartlyLabelled, keeping, listed, of_all, partly_labelled, told_of
from equipoise.data.loader import Loader
from equipoise.data.source import Source, Split, TaskFacts, ending, few, folded, split
from equipoise.data.standardise import Standard, measured, standardised, windowed
from equipoise.data.unpaired import Unpaired
from equipoise.doctor.autopilot import Apply, GiveUp
from equipoise.engine.checkpoint import Checkpoints, Snapshot
from equipoise.engine.trainer import Trainer
from equipoise.games.answers import Answerer, Choice, PictureGame
from equipoise.games.autoencoding import Autoencoder
from equipoise.monitor.grids import grid, scatter
from equipoise.runs import features
from equipoise.runs.codes import SHOWN, by_code, num_codes
from equipoise.runs.data_check import check_before_training
from equipoise.runs.environment import environment
from equipoise.runs.evaluation import Evaluation
from equipoise.runs.extractors import Extractor
from equipoise.runs.judge import (
    Judge,
    Referee,
    Stop,
    best_checkpoints,
    entries,
    judged_thoroughly,
    metrics_entry,
    write_entries,
)
from equipoise.runs.loading import is_python_recipe, python_recipe
from equipoise.runs.lock import locked
from equipoise.runs.parts import Adversarial, Examples
from equipoise.runs.piloting import Intervene, Pilot, described, interventions
from equipoise.runs.provenance import Label, write_animation, write_png
from equipoise.runs.recipe import (
    Recipe,
    differences,
    dotted,
    follows_progress,
    from_dict,
    read_toml,
    recipe_hash,
    to_dict,
    to_toml,
    with_settings,
)
from equipoise.runs.reconstructed import SHOWN as RECONSTRUCTED
from equipoise.runs.reconstructed import reconstructions
from equipoise.runs.report import write_report
from equipoise.runs.restored import Restoration, evaluate_restoration, judging_network, restored
from equipoise.runs.restoring import endings_of
from equipoise.runs.sampling import interpolation, samples, samples_together, settle
from equipoise.runs.scores import Scored
from equipoise.runs.view import View
from equipoise.runs.watcher import Watcher, now, plane

At = int | Literal["newest", "best"]
"""A checkpoint of a run."""

MAX_FRAMES = 40
"""Of the animation."""
NO_CHOICE = Choice()


@dataclass(frozen=True)
class Run:
    """One run folder, its recipe, and what its game must know of the data."""

    folder: Path
    recipe: Recipe
    origin: str
    examples: Examples
    opened: Source | None = field(default=None, compare=False, repr=False)
    """The data, where it was opened already."""
    standard: Standard | None = field(default=None, compare=False, repr=False)
    """How the units of the data and what is trained on belong together, where they differ."""

    @property
    def id(self) -> str:
        """The name of the folder."""
        return self.folder.name

    # ---------------------------------------------------------------- making and opening

    @classmethod
    def create(cls, recipe: Recipe, *, origin: str, folder: Path | None = None) -> "Run":
        """A new run folder. Raises `RecipeError` if the folder holds anything already, `DataError` for the data."""
        if folder is not None:
            folder = folder.resolve()
            refuse_used(folder, recipe)
        draft = cls.draft(recipe, origin=origin, folder=folder or Path(recipe.name))
        untimed = recipe.model_copy(update={"training": replace(recipe.training, precision="fp32")})
        draft.with_recipe(untimed).trainer(draft.parts(draft.source()).train)  # or nothing is left behind
        folder = folder or new_folder(recipe.name)
        with disk_errors("creating the run folder", folder):
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(folder / "recipe.toml", to_toml(recipe).encode())
            known = {key: value for key, value in vars(draft.examples).items() if key not in OF_RECIPE}
            card = {"origin": origin, "created": now(), "data": known}
            if draft.standard is not None and recipe.data.standardise != "none":
                card["standard"] = draft.standard.to_json()
            replace_file(folder / "run.json", json.dumps(card, indent=1).encode())
        return replace(draft, folder=folder)

    @classmethod
    def draft(cls, recipe: Recipe, *, origin: str, folder: Path) -> "Run":
        """A run of which nothing is written: its data is opened and, to be standardised, its training part measured."""
        source = recipe.data.open()
        examples = Examples(source.name, source.shape, source.classes, source.given_shape, recipe.data.to_learn_from)
        examples = replace(examples, tasks=source.tasks)
        draft = cls(folder, recipe, origin, examples, source)
        how = recipe.data.standardise
        known = recipe.data.fixed_standard
        standard = known if how == "none" else measured(draft.divided_and_told(source)[0].train, how)
        return replace(draft, standard=standard)

    @classmethod
    def open(cls, folder: Path | str, *, like: Recipe | None = None) -> "Run":
        """A run folder that exists. Raises `RecipeError` if it is none.

        A run that was trained from a `Recipe` object with a game of your own needs such a recipe as `like`.
        """
        folder = Path(folder).resolve()
        if not (folder / "run.json").is_file() or not (folder / "recipe.toml").is_file():
            raise RecipeError(
                f"{folder} is not a run folder: expected recipe.toml and run.json in it. {known_runs(folder)}"
            )
        try:
            card = json.loads((folder / "run.json").read_text("utf-8"))
            data = card["data"]
            examples = Examples(data["name"], tuple(data["shape"]), tuple(data["classes"]))
            if data.get("given") is not None:  # former cards have none
                examples = replace(examples, given=tuple(data["given"]))
            examples = replace(examples, tasks={name: TaskFacts(*one) for name, one in data.get("tasks", {}).items()})
            origin = str(card["origin"])
            standard = Standard.from_json(card["standard"]) if "standard" in card else None
        except (ValueError, KeyError, TypeError) as error:
            raise RecipeError(f"{folder / 'run.json'} is damaged: {error}.") from error
        if is_python_recipe(origin):
            like = python_recipe(origin)
        recipe = from_dict(read_toml(folder / "recipe.toml"), like=like)
        if standard is None and recipe.data.standardise != "none":
            raise RecipeError(f"{folder / 'run.json'} is damaged: what the data was standardised by is missing.")
        examples = replace(examples, learn=recipe.data.to_learn_from)
        return cls(folder, recipe, origin, examples, standard=standard or recipe.data.fixed_standard)

    # ---------------------------------------------------------------- training

    def train(
        self,
        *,
        resume: bool = False,
        settings: Mapping[str, Any] | None = None,
        quiet: bool = False,
        referee: Referee | None = None,
    ) -> "Run":
        """Train to the end of the recipe, or from the newest checkpoint to the end; then evaluate and report.

        `settings` may change, at a resume, what does not enter the mathematics of the steps already taken. A `referee`
        is told of every evaluation during training (`judging.every`), and may end it.
        """
        with locked(self.folder):
            if resume:
                self.check_checkpoint()
            elif next(self.manifests(), None):
                raise RecipeError(
                    f"{self.folder} was trained already. Go on with it by `equipoise resume {self.folder}`."
                )
            run = self.with_changes(settings or {})
            with threads(run.recipe.training.threads):
                return run.play(run.source(), resume=resume, quiet=quiet, referee=referee)

    def play(self, source: Source, *, resume: bool, quiet: bool, referee: Referee | None = None) -> "Run":
        """Train, evaluate and report, holding the lock."""
        parts = self.parts(source)
        self.check_data(source)
        view = View(self.id, self.recipe.training.steps, console=silent_console() if quiet else None)
        with view:
            pilot = self.pilot()
            watcher = Watcher(self, parts, view, pilot=pilot)
            judge = Judge(self, parts, watcher, referee)
            try:
                trainer = self.trainer(parts.train, watcher=watcher, judge=judge, source=source)
                back_to = self.unfinished_intervention() if resume else None
                if back_to is not None:
                    go_on_from(trainer, back_to)
                if resume and trainer.resume():
                    step, steps = trainer.clock.step, self.recipe.training.steps
                    watcher.on_event(trainer.clock, "resumed", f"Going on from step {step} of {steps}.")
                    self.warn_of_changes(trainer, watcher)
                else:
                    watcher.events.append(event(0, "started", f"Training {self.id} from {self.origin}."))
                self.check_room(trainer)
                view.event(describe(source, parts))
                self.write_environment(trainer, source)
                for note in parts.train.notes:
                    watcher.on_event(trainer.clock, "data", note)
                for complaint in source.skipped:
                    watcher.on_event(trainer.clock, "skipped_data", f"Skipped {complaint}")
                for line in [] if resume else check_before_training(self.recipe.data, self.folder):
                    watcher.on_event(trainer.clock, "data", line)
                watcher.begin(trainer)
                judge.begin(trainer)
                trainer = self.fit(trainer, watcher, judge, source=source)
            finally:
                watcher.close()
            run = self if pilot is None else pilot.run
            self.write_animation()
            if self.recipe.judging.at_end and not judge.has_judged(trainer.clock.step):
                write_report(self.folder)  # judging may take a while
                view.event("Trained and saved. Evaluating; the first time, this fits a small network that judges …")
                try:
                    if run.recipe.game.own_scores:
                        run.evaluate_own(source=source)
                    elif run.examples.given:
                        run.evaluate_restoration(source=source)
                    else:
                        run.evaluate(source=source)
                except (DataError, RecipeError) as error:  # what cannot be judged is trained all the same
                    watcher.on_event(trainer.clock, "warning", f"No evaluation: {error}")
            watcher.on_event(trainer.clock, "finished", f"Trained {trainer.clock.step} steps.")
        write_report(self.folder)
        return run

    def warn_of_changes(self, trainer: Trainer, watcher: Watcher) -> None:
        """Say what makes going on differ from a run that never stopped."""
        manifest = next(self.manifests(), {})
        before = manifest.get("identity", {}).get("recipe", {}).get("training", {}).get("steps")
        if before not in (None, self.recipe.training.steps) and follows_progress(self.recipe):
            watcher.on_event(
                trainer.clock,
                "warning",
                f"The run was planned for {before} steps and now for {self.recipe.training.steps}: what "
                "follows a schedule, such as the learning rate, stretches to the new length and jumps here.",
            )

    def fit(self, trainer: Trainer, watcher: Watcher, judge: Judge, *, source: Source) -> Trainer:
        """Train to the end, through all interventions of the autopilot; the trainer that got there."""
        while True:
            try:
                self.train_on(trainer, watcher)
                if watcher.pilot is not None:
                    watcher.pilot.finish(watcher.diagnosis)
                return trainer
            except Stop as stop:
                watcher.report_window(trainer.clock, last=True)
                trainer.save()
                watcher.on_event(trainer.clock, "stopped", str(stop))
                return trainer
            except Intervene as stop:
                decision = stop.decision
            except DivergedError:
                pilot = watcher.pilot
                decision = pilot.decision(watcher.diagnosis, trainer.clock, ended=True) if pilot else None
                if decision is None:
                    raise
            if isinstance(decision, GiveUp):
                assert watcher.pilot is not None
                error = watcher.pilot.give_up(decision)
                watcher.on_event(trainer.clock, "failed", str(error))
                write_report(self.folder)
                raise error
            trainer = self.healed(decision, trainer, watcher, judge, source=source)

    def healed(self, decision: Apply, trainer: Trainer, watcher: Watcher, judge: Judge, *, source: Source) -> Trainer:
        """A trainer of the changed recipe that stands where the autopilot goes on."""
        assert watcher.pilot is not None
        assert trainer.checkpoints is not None
        steps = [step for step in trainer.checkpoints.steps() if trainer.checkpoints.sound(step)]
        run = watcher.pilot.next_run(decision, saved=steps, diagnosis=watcher.diagnosis)
        watcher.on_event(trainer.clock, "intervention", described(decision))
        with disk_errors("writing the recipe", self.folder):
            replace_file(self.folder / "recipe.toml", to_toml(run.recipe).encode())
        healed = run.trainer(judge.parts.train, watcher=watcher, judge=judge, source=source)
        go_on_from(healed, decision.intervention.back_to)
        watcher.close()
        watcher.begin(healed)
        judge.begin(healed)
        watcher.view.total = run.recipe.training.steps
        return healed

    def pilot(self) -> Pilot | None:
        """The autopilot, if the recipe asks for one."""
        return Pilot(self) if self.recipe.watching.autopilot else None

    def with_recipe(self, recipe: Recipe) -> "Run":
        """This run with another recipe; nothing is written."""
        return replace(self, recipe=recipe)

    def train_on(self, trainer: Trainer, watcher: Watcher) -> None:
        """Train; whatever ends it early is written down and reported before it goes on its way."""
        try:
            trainer.fit()
        except Interrupted as stop:
            watcher.on_event(trainer.clock, "interrupted", str(stop))
            write_report(self.folder)
            how = f"Go on with: equipoise resume {self.folder}"
            raise Interrupted(f"{stop} {how}", signal_number=stop.exit_code - 128) from stop
        except torch.OutOfMemoryError as error:
            watcher.on_event(trainer.clock, "failed", str(error))
            raise EquipoiseError(
                f"Out of memory at step {trainer.clock.step}; what was saved is kept. Lower training.batch, or "
                "split it by --set training.accumulate=2."
            ) from error
        except EquipoiseError as error:
            try:
                diverged = isinstance(error, DivergedError)
                if diverged:
                    watcher.report_window(trainer.clock, last=True)  # with the refused moves
                watcher.on_event(trainer.clock, "diverged" if diverged else "failed", str(error))
                write_report(self.folder)
            finally:
                raise error

    def trainer(
        self,
        train: Source,
        *,
        watcher: Watcher | None = None,
        judge: Judge | None = None,
        source: Source | None = None,
    ) -> Trainer:
        """The game at its first step, ready to train. Without a watcher nothing is written."""
        if lines := self.recipe.game.conflicts(self.recipe.training, self.recipe.players):
            raise RecipeError("\n".join(lines))
        game, images = self.recipe.game, len(train.shape) == 3
        if self.recipe.data.standardise == "mean-std" and images and isinstance(game, Adversarial):
            raise RecipeError(
                f'data.standardise = "mean-std" leaves pixels beyond [-1, 1], which the {game.network.kind} generator '
                'cannot make: for images it ends in tanh. Use data.standardise = "range".'
            )
        checkpoints = None
        if watcher is not None and source is not None:
            checkpoints = Checkpoints(
                self.folder / "checkpoints",
                keep=self.recipe.training.keep,
                identity={"run": self.id, "recipe": to_dict(self.recipe), "data": source.fingerprint},
                notice=lambda kind, message: (
                    watcher.events.append(event(0, kind, message)) or watcher.view.event(message)
                ),
            )
        return Trainer(
            self.build_game(),
            self.loader(train),
            players=self.recipe.game.optimizers(self.recipe.players),
            plan=self.recipe.training,
            checkpoints=checkpoints,
            observers=[observer for observer in (watcher, judge) if observer is not None],
            device=self.device,
        )

    def loader(self, train: Source) -> Loader:
        """The training examples by position, augmented if the recipe says so. Raises `RecipeError` unless it can be."""
        changes = self.recipe.data.augmentation
        if changes is not None and len(train.shape) != 3:
            raise RecipeError(
                f"data.augmentation changes images, but the examples have the shape {list(train.shape)}. Leave it out."
            )
        seed = self.recipe.training.seed
        return Loader(train, labels=self.recipe.game.needs_labels, seed=seed, changes=changes)

    def build_game(self) -> Game:
        """The game with its initial weights, which belong to the recipe's seed."""
        with torch.random.fork_rng():
            torch.manual_seed(stable_seed(self.recipe.training.seed, "weights"))
            try:
                return self.recipe.game.balanced(self.recipe.game.build(self.examples))
            except ValueError as error:
                raise error if isinstance(error, EquipoiseError) else RecipeError(str(error)) from error

    def source(self) -> Source:
        """The data, on the device. Raises `DataError`."""
        return (self.opened or self.recipe.data.open()).to(self.device)

    def parts(self, source: Source) -> Split:
        """Examples to train on, and examples that are never trained on: both standardised, if the recipe says so.

        For semi-supervised games those to train on tell some labels alone.
        """
        parts, told = self.divided_and_told(source)
        if self.recipe.data.standardise != "none":
            assert self.standard is not None
            parts = Split(*(standardised(part, self.standard) for part in parts))
        return parts if told is None else parts._replace(train=partly_labelled(parts.train, told))

    def divided_and_told(self, source: Source) -> tuple[Split, Tensor | None]:
        """Both parts, and which examples of the first have a label, where only some have. Raises `RecipeError`."""
        labelled, draw = self.recipe.data.labelled, self.recipe.data.draw
        if not self.recipe.game.semi_supervised:
            if labelled is not None:
                raise RecipeError(
                    f"data.labelled = {labelled} is for games that learn from few labels, such as sgan. Leave it out; "
                    "data.per_class trains on few examples."
                )
            return self.divided(source), None
        if not isinstance(labelled, Path):
            parts = self.divided(source)
            return parts, of_all(parts.train) if labelled is None else told_of(parts.train, labelled, seed=draw)
        if self.recipe.data.per_class is not None:
            raise RecipeError("data.per_class leaves examples out that data.labelled may list. Use one of the two.")
        return keeping(source, listed(labelled, len(source)), self.divided)

    def divided(self, source: Source) -> Split:
        """Examples to train on, and examples that are never trained on: at most three tenths; in the data's units."""
        if isinstance(source, Unpaired):
            return source.divided(self.divided)
        data = self.recipe.data  # the same for every seed of training, so that runs can be compared
        if data.gap and (data.fold is not None or data.held_out_at != "end"):
            raise RecipeError(f'data.gap = {data.gap} is for data.held_out_at = "end", without data.fold. Set that.')
        if data.fold is not None:
            number, _, num_folds = data.fold.partition("/")
            parts = folded(source, int(number), int(num_folds), seed=data.draw)
        else:
            held_out = min(data.held_out, max(len(source) * 3 // 10, 1))
            at_end = data.held_out_at == "end"
            parts = ending(source, held_out, gap=data.gap) if at_end else split(source, held_out, seed=data.draw)
        if data.per_class is not None:
            parts = parts._replace(train=few(parts.train, data.per_class, seed=data.draw))
        return parts

    @property
    def device(self) -> torch.device:
        """The accelerator, if there is one."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    # ---------------------------------------------------------------- refusing what does not fit

    def with_changes(self, settings: Mapping[str, Any]) -> "Run":
        """This run with settings that may still change, written down. Raises `RecipeError` for any other."""
        if not settings:
            return self
        recipe = with_settings(self.recipe, settings)
        if lines := differences(recipe, self.recipe):
            raise RecipeError(
                f"{self.folder} was trained with another recipe, and these cannot change on the way:\n  "
                + "\n  ".join(lines)
                + "\nStart a new run for them."
            )
        reached = self.newest_step()
        if recipe.training.steps < reached:
            raise RecipeError(
                f"training.steps = {recipe.training.steps}, but {self.folder} has reached step {reached}: expected "
                "at least that many. Start a new run for a shorter one."
            )
        with disk_errors("writing the recipe", self.folder):
            replace_file(self.folder / "recipe.toml", to_toml(recipe).encode())
        return self.with_recipe(recipe)

    def check_checkpoint(self) -> None:
        """Raise `CheckpointError` if the newest checkpoint belongs to another recipe, with the difference."""
        if self.unfinished_intervention() is not None:
            return
        for manifest in self.manifests():
            like = self.recipe
            try:
                theirs = from_dict(manifest["identity"]["recipe"], like=like)
            except (EquipoiseError, KeyError, TypeError) as error:
                raise CheckpointError(
                    f"The checkpoint in {self.folder} belongs to a different recipe, with another kind of game: {error}"
                ) from error
            if lines := differences(self.recipe, theirs):
                raise CheckpointError(
                    f"The checkpoint in {self.folder} belongs to a different recipe (checkpoint -> recipe.toml):\n  "
                    + "\n  ".join(lines)
                    + "\nRestore recipe.toml, or start a new run."
                )
            return

    def unfinished_intervention(self) -> int | None:
        """The step to go back to, where the autopilot was stopped between changing the recipe and going back."""
        rows = interventions(self.folder)
        newest = next(self.manifests(), None)
        if not rows or newest is None or rows[-1]["outcome"] != "on probation":
            return None
        written = dotted(to_dict(self.recipe))
        changed = all(written.get(key) == value for key, value in rows[-1]["settings"].items())
        saved = dotted(newest["identity"].get("recipe", {}))
        before = any(saved.get(key) != written.get(key) for key in rows[-1]["settings"])
        return int(rows[-1]["back_to"]) if changed and before else None

    def check_data(self, source: Source) -> None:
        """Raise `DataError` if the run was trained on other data than the source holds now."""
        for manifest in self.manifests():
            if manifest["identity"].get("data") != source.fingerprint:
                raise DataError(
                    f"The data has changed since {self.folder} was trained: {source.name} has {len(source)} examples, "
                    "with other content or labels. Restore the data, or start a new run."
                )
            return

    def check_room(self, trainer: Trainer) -> None:
        """Raise `DiskError` before the first step if the disk cannot hold the checkpoints that will be kept."""
        # The weights, their averages and two moments each; one checkpoint is written before the oldest is removed.
        size = 4 * sum(p.numel() * p.element_size() for p in trainer.game.parameters())
        needed, free = size * (self.recipe.training.keep + 1), free_bytes(self.folder)
        if free < needed:
            raise DiskError(
                f"The disk of {self.folder} has {readable(free)} free; its checkpoints will need {readable(needed)}. "
                "Free some space, choose another folder by --run, or keep fewer by --set training.keep=1."
            )

    def manifests(self) -> Iterator[dict[str, Any]]:
        """The readable manifests of this run's checkpoints, newest first."""
        checkpoints = Checkpoints(self.folder / "checkpoints")
        for step in reversed(checkpoints.steps()):
            try:
                yield checkpoints.manifest(step)
            except CheckpointError:
                continue

    def newest_step(self) -> int:
        """The step of the newest checkpoint; 0 before the first."""
        return int(next((manifest["step"] for manifest in self.manifests()), 0))

    # ---------------------------------------------------------------- what a trained run can do

    def step_of(self, at: At) -> int:
        """The step of a checkpoint. Raises as `snapshot_at` does."""
        return at if isinstance(at, int) else int(snapshot_at(self.folder, at).state["step"])

    def trained_game(self, at: At = "newest") -> tuple[Game, int]:
        """The game with the averaged weights of a checkpoint, in eval mode, and the step of that.

        `at` is "newest", "best" (by `judging.metric`, where the run was evaluated while it trained) or a step.
        """
        snapshot = snapshot_at(self.folder, at)
        game = self.build_game()
        try:
            game.load_state_dict({**snapshot.tensors["game"], **snapshot.tensors["averaged"]})
        except (RuntimeError, KeyError) as error:
            raise CheckpointError(f"The checkpoint in {self.folder} does not fit its recipe: {error}") from error
        game = game.to(self.device).eval()
        if isinstance(game, LatentGame) and snapshot.tensors["averaged"]:
            with threads(self.recipe.training.threads):
                settle(game, place=self.place)
        return game, int(snapshot.state["step"])

    def sample(
        self,
        num: int = 16,
        *,
        seed: int = 0,
        label: int | str | None = None,
        truncation: float = 1.0,
        at: At = "newest",
    ) -> Tensor:
        """Generated examples, float32 [num, *shape]: images in [-1, 1], standardised data in its own units.

        `label` is a class by name or number; without it a conditional run gives all classes in turn. Raises
        `CheckpointError` before the first checkpoint, `RecipeError` for a class that the run does not know.
        """
        latent = self.latent(self.trained_game(at)[0])
        labels = None if label is None else torch.full((num,), self.class_number(label))
        with threads(self.recipe.training.threads):
            x = samples(latent, num, seed=seed, labels=labels, truncation=truncation, place=self.place)
        return self.in_units(x)

    def couples(self, num: int = 16, *, seed: int = 0, at: At = "newest") -> tuple[Tensor, ...]:
        """What the same latents become in each domain of a game of two, float32 [num, C, H, W] in [-1, 1] each."""
        latent = self.latent(self.trained_game(at)[0])
        with threads(self.recipe.training.threads):
            return samples_together(latent, num, seed=seed, place=self.place)

    def reconstruct(self, x: Tensor, *, at: At = "newest") -> Tensor:
        """What an autoencoder makes of examples [N, *shape], as the networks see them, on the CPU.

        Raises `RecipeError` for a game that encodes nothing, and for examples of another shape.
        """
        game = self.trained_game(at)[0]
        if not isinstance(game, Autoencoder):
            raise RecipeError(f"The game of {self.folder} reconstructs nothing: use vaegan or aae.")
        if tuple(x.shape[1:]) != self.examples.shape:
            raise RecipeError(f"Examples of shape {list(x.shape[1:])}: expected {list(self.examples.shape)}.")
        with threads(self.recipe.training.threads):
            return reconstructions(game, x, self.place)

    def interpolate(
        self,
        num_ways: int = 8,
        num_steps: int = 8,
        *,
        seed: int = 0,
        label: int | str | None = None,
        at: At = "newest",
    ) -> Tensor:
        """Generated examples between pairs of latents, [num_ways · num_steps, *shape]."""
        latent = self.latent(self.trained_game(at)[0])
        labels = None if label is None else torch.full((num_ways,), self.class_number(label))
        with threads(self.recipe.training.threads):
            x = interpolation(latent, num_ways, num_steps, seed=seed, labels=labels, place=self.place)
        return self.in_units(x)

    def in_units(self, x: Tensor) -> Tensor:
        """Examples as the networks make and see them, in the units of the data."""
        return x if self.standard is None else self.standard.inverse(x)

    def for_looking(self, x: Tensor) -> Tensor:
        """Examples in the units of the data as pictures show them: see `Standard.shown` and `windowed`."""
        window = self.recipe.data.looked_through
        if window is not None:
            return windowed(x, window)
        return x if self.standard is None else self.standard.shown(x)

    def place(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device)

    def latent(self, game: Game) -> LatentGame:
        """The game, if it makes examples from latents."""
        if not isinstance(game, LatentGame):
            raise RecipeError(f"The game of {self.folder} makes no examples from latents alone; it needs input data.")
        return game

    def class_number(self, label: int | str) -> int:
        """The number of a class given by name or number."""
        classes = self.examples.classes
        if not self.recipe.game.needs_labels:
            raise RecipeError(f"class {label!r}: {self.id} was trained without labels, so it knows no classes.")
        if str(label) in classes:
            return classes.index(str(label))
        if str(label).isdecimal() and int(label) < len(classes):
            return int(label)
        raise RecipeError(f"class {label!r} is not known. Classes: {', '.join(classes[:50])}.")

    def write_samples(
        self, x: Tensor, path: Path, *, seed: int, columns: int | None = None, step: int | None = None
    ) -> Path:
        """A labelled PNG of generated examples in the units of the data, shown as `for_looking` says.

        They were made at `step`, by default that of the newest checkpoint.
        """
        x = self.for_looking(x)
        image = grid(x, columns=columns) if x.ndim == 4 else scatter(plane(x), plane(x))
        with disk_errors("writing samples", path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            made_at = self.newest_step() if step is None else step
            return write_png(image, path, Label(run=self.id, step=made_at, seed=seed))

    def evaluate(
        self,
        *,
        num: int | None = None,
        seed: int = 0,
        source: Source | None = None,
        at: At = "newest",
        extractor: Extractor | None = None,
    ) -> Evaluation:
        """Measure generated examples against held-out real ones, and real training examples as the floor.

        By default in the features of a small network that is fitted to the data once; `extractor` is another, from
        `extractors.extractor_of`. The result is appended to metrics.json. Raises `DataError` if too few examples were
        held out.
        """
        if num is not None and num < 1:
            raise RecipeError(f"{num} samples: expected a number of at least 1.")
        source = source or self.source()
        self.check_data(source)
        game, step = self.trained_game(at)
        if self.recipe.game.own_scores:
            raise RecipeError(f"The game of {self.folder} is judged in a way of its own: use Run.evaluate_own.")
        if isinstance(game, PictureGame):
            raise RecipeError(f"The game of {self.folder} restores pictures: use Run.evaluate_restoration.")
        with threads(self.recipe.training.threads):
            result, pairs = judged_thoroughly(
                self, self.latent(game), self.parts(source), num=num, seed=seed, extractor=extractor
            )
        if pairs is not None:
            path = self.folder / "samples" / f"nearest-step-{step:08d}.png"
            self.write_samples(self.in_units(pairs), path, seed=seed, columns=len(pairs) // 2, step=step)
        if isinstance(game, LatentGame) and num_codes(game) and len(self.examples.shape) == 3:
            self.write_codes(game, seed=seed, step=step)
        if isinstance(game, Autoencoder) and len(self.examples.shape) == 3:
            held_out = self.parts(source).held_out
            x = held_out.examples(torch.arange(min(RECONSTRUCTED, len(held_out)))).cpu()
            both = torch.cat([x, reconstructions(game, x, self.place)])
            path = self.folder / "samples" / f"reconstructed-step-{step:08d}.png"
            self.write_samples(self.in_units(both), path, seed=seed, columns=len(x), step=step)
        write_entries(self.folder, [*entries(self.folder), metrics_entry(step, result)])
        return result

    def write_codes(self, game: LatentGame, *, seed: int, step: int) -> Path:
        """A labelled PNG of generated examples with one row for each code that the generator discovered."""
        path = self.folder / "samples" / f"codes-step-{step:08d}.png"
        with threads(self.recipe.training.threads):
            x = self.in_units(by_code(game, SHOWN, seed=seed, place=self.place))
        return self.write_samples(x, path, seed=seed, columns=SHOWN, step=step)

    def evaluate_restoration(
        self, *, data: Path | None = None, num: int | None = None, at: At = "newest", source: Source | None = None
    ) -> Restoration:
        """Restore whole held-out pictures, or those at `data` in the same way, and compare them with their targets.

        The result is appended to metrics.json. Raises `RecipeError` for games that restore nothing.
        """
        if data is None:
            source = source or self.source()
            self.check_data(source)
            pictures = self.parts(source).held_out
        else:
            if not data.exists():
                raise DataError(f"{data} does not exist. Expected pictures to restore.")
            place = {"path": data, "given": None, "endings": None, "part": None, "crop": 8 * self.scale}
            place |= endings_of(data)
            pictures = with_settings(self.recipe, {"data": place}).data.open()
        game, step = self.trained_game(at)
        with threads(self.recipe.training.threads):
            restorer, judge = self.picture_game(game), judging_network(self)
            result = evaluate_restoration(self, restorer, pictures, judge=judge, num=num)
        write_entries(self.folder, [*entries(self.folder), metrics_entry(step, result)])
        return result

    def evaluate_own(
        self, *, data: Path | None = None, num: int | None = None, at: At = "newest", source: Source | None = None
    ) -> Scored:
        """Measure a game that is judged in a way of its own on held-out data, or on all of that at `data`.

        The result is appended to metrics.json. Raises `RecipeError` for any other game.
        """
        if data is None:
            source = source or self.source()
            self.check_data(source)
            held_out = self.parts(source).held_out
        else:
            held_out = with_settings(self.recipe, {"data": self.recipe.data.at(data)}).data.open().to(self.device)
        game, step = self.trained_game(at)
        with threads(self.recipe.training.threads), torch.no_grad():
            result = self.recipe.game.scored(self, game, held_out, num=num)
        write_entries(self.folder, [*entries(self.folder), metrics_entry(step, result)])
        return result

    def picture_game(self, game: Game) -> PictureGame:
        """The game, if it answers pictures."""
        if not isinstance(game, PictureGame):
            raise RecipeError(f"The game of {self.folder} answers no pictures: there is nothing to apply it to.")
        return game

    def answerer(self, game: PictureGame, choice: Choice) -> Answerer:
        """What answers pictures as chosen. Raises `RecipeError` for what cannot be chosen."""
        try:
            return game.answerer(self.recipe.data.prepared(choice))
        except ValueError as error:
            raise RecipeError(str(error)) from error

    @property
    def scale(self) -> int:
        """How many times larger an answer is than what is given."""
        given = self.examples.given
        return 1 if given is None else self.examples.shape[1] // given[1]

    def apply(self, given: Tensor, *, choice: Choice = NO_CHOICE, at: At = "newest", tile: int = 256) -> Tensor:
        """The answer to a picture [C, h, w] in [-1, 1] of any size, [C', H, W] on the CPU, tile by tile.

        For inpainting the last channel is the mask, 1 where something is missing. `choice` says what is done, of games
        that can do several things. Raises `RecipeError` for another number of channels, values that are none of a
        picture, a choice that there is not, or a game that answers no pictures.
        """
        if not isinstance(given, Tensor) or not given.is_floating_point() or not given.isfinite().all():
            raise RecipeError("Expected a picture as a tensor of finite floating-point numbers [C, h, w] in [-1, 1].")
        if given.abs().max() > 1.01:
            low, high = (float(value) for value in given.aminmax())
            raise RecipeError(f"A picture with values from {low:.3g} to {high:.3g}: expected [-1, 1].")
        with threads(self.recipe.training.threads):
            game = self.picture_game(self.trained_game(at)[0])
            answerer = self.answerer(game, choice)
            wanted = answerer.given or (self.examples.given[0] if self.examples.given else None)
            if wanted is not None and (given.ndim != 3 or given.shape[0] != wanted):
                raise RecipeError(f"A picture of shape {list(given.shape)}: expected [{wanted}, h, w], as in training.")
            return restored(game, given[None].float(), scale=self.scale, tile=tile, answerer=answerer)[0]

    def extractor(self, train: Source, held_out: Source) -> features.FeatureExtractor:
        """The feature network that judges this run: fitted once, on the training examples, then kept in features/."""
        folder = self.folder / "features"
        if (folder / "extractor.json").exists():
            return features.load(folder)
        if isinstance(train, PartlyLabelled):
            train = train.known
        extractor = features.fit_feature_net(train, held_out=held_out)
        features.save(extractor, folder)
        return extractor

    def report(self) -> Path:
        """Write report.html anew."""
        return write_report(self.folder)

    def write_animation(self) -> None:
        """How the samples formed, as one animation from the grids in samples/."""
        paths = sorted((self.folder / "samples").glob("step-*.png"))
        if len(paths) < 2:
            return
        chosen = sorted({round(i) for i in np.linspace(0, len(paths) - 1, min(MAX_FRAMES, len(paths)))})
        frames = [Image.open(paths[i], formats=["PNG"]).convert("RGB") for i in chosen]
        label = Label(run=self.id, step=int(paths[-1].stem.removeprefix("step-")), seed=self.recipe.training.seed)
        with disk_errors("writing the animation", self.folder):
            write_animation(frames, self.folder / "samples" / "formation.webp", label)

    def write_environment(self, trainer: Trainer, source: Source) -> None:
        """What this run runs on, beside its recipe."""
        facts = environment(self.device) | {
            "precision": trainer.precision,
            "recipe_sha256": recipe_hash(self.recipe),
            "data": source.name,
            "data_sha256": source.fingerprint,
            "examples": len(source),
        }
        with disk_errors("writing the environment", self.folder):
            replace_file(self.folder / "environment.json", json.dumps(facts, indent=1).encode())


OF_RECIPE = ("learn",)
"""What is known of the data by the recipe, which may say something else after the data has moved."""


def snapshot_at(folder: Path, at: At) -> Snapshot:
    """A checkpoint of a run. Raises `CheckpointError` before the first, `RecipeError` for one that is not there."""
    newest, best = Checkpoints(folder / "checkpoints"), best_checkpoints(folder)
    if at == "best":
        snapshot = best.newest()
        hint = "Only runs that are evaluated while they train keep their best: --set judging.every=1000"
    elif at == "newest":
        snapshot, hint = newest.newest(), f"Train it first: equipoise resume {folder}"
    else:
        place = next((place for place in (newest, best) if at in place.steps()), None)
        snapshot = place.load(at) if place else None
        hint = f"There are: {', '.join(map(str, sorted({*newest.steps(), *best.steps()})))}."
    if snapshot is None and at == "newest":
        raise CheckpointError(f"{folder} holds no checkpoint yet. {hint}")
    if snapshot is None:
        what = "that is its best" if at == "best" else f"of step {at}"
        raise RecipeError(f"{folder} holds no checkpoint {what}. {hint}")
    return snapshot


def go_on_from(trainer: Trainer, step: int) -> None:
    """Take over the game of another recipe at a step, or at the newest before it, and save it as this one's."""
    assert trainer.checkpoints is not None
    saved = max((at for at in trainer.checkpoints.steps() if at <= step), default=0)
    snapshot = trainer.checkpoints.load(saved) if saved else None
    trainer.checkpoints.forget_from(saved)
    if snapshot is not None:
        trainer.take_over(snapshot)
        trainer.save()


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Inside, torch computes with so many threads; None leaves it as it is."""
    former = torch.get_num_threads()
    torch.set_num_threads(number or former)
    try:
        yield
    finally:
        torch.set_num_threads(former)


def describe(source: Source, parts: Split) -> str:
    """The data in one line."""
    classes = f", {len(source.classes)} classes" if source.classes else ""
    shape = "×".join(map(str, source.shape))
    return f"Data: {source.name}, {len(parts.train)} to train on, {len(parts.held_out)} held out, {shape}{classes}."


def event(step: int, kind: str, message: str) -> dict[str, Any]:
    """A line of events.jsonl."""
    return {"step": step, "time": now(), "kind": kind, "message": message}


def new_folder(name: str) -> Path:
    """A folder under runs/ that is nobody's: two runs of one second get different ones."""
    stem = Path("runs").resolve() / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in range(1, 1000):
        folder = stem if number == 1 else stem.with_name(f"{stem.name}-{number}")
        with disk_errors("creating the run folder", folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.mkdir()
            except FileExistsError:
                continue
        return folder
    raise RecipeError(f"There are a thousand folders like {stem}.")


def refuse_used(folder: Path, recipe: Recipe) -> None:
    """Raise `RecipeError` if the folder holds a run or anything else."""
    if folder.exists() and not folder.is_dir():
        raise RecipeError(f"{folder} is a file: expected a folder that is new or empty.")
    if (folder / "run.json").is_file():
        lines = differences(recipe, Run.open(folder).recipe)
        what = "with a different recipe (there -> here):\n  " + "\n  ".join(lines) if lines else "with this very recipe"
        raise RecipeError(
            f"{folder} already holds a run {what}\n"
            f"Go on with it by `equipoise resume {folder}`, or choose another folder."
        )
    if folder.is_dir() and any(folder.iterdir()):
        raise RecipeError(f"{folder} is not empty and holds no run: expected a folder that is new or empty.")


def known_runs(folder: Path) -> str:
    """The runs in a folder that is none, beside it and in runs/, as a hint."""
    places = (folder, folder.parent, Path("runs").resolve())
    runs = sorted({path.parent for place in places for path in place.glob("*/run.json")})
    return f"Runs here: {', '.join(str(run) for run in runs[-5:])}." if runs else "There are no runs here yet."


def silent_console():
    """A console that prints nothing."""
    import io

    from rich.console import Console

    return Console(file=io.StringIO())
