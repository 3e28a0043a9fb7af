"""Watching a run: signals to the journal, the terminal and TensorBoard; sample grids as they form."""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from equipoise.core.disk import disk_errors
from equipoise.core.game import Clock, LatentGame
from equipoise.core.seeding import stable_seed
from equipoise.data.pictures import is_pair
from equipoise.data.source import Source, Split
from equipoise.doctor.diagnosis import Diagnosis, diagnosed
from equipoise.doctor.words import number
from equipoise.engine import trainer as engine
from equipoise.monitor.grids import grid, scatter
from equipoise.monitor.record import Record
from equipoise.runs.journal import Journal, read, without_undone
from equipoise.runs.lookout import Lookout
from equipoise.runs.piloting import Pilot
from equipoise.runs.provenance import ANSWERED, RESTORED_SOURCE_TYPE, Label, write_png
from equipoise.runs.sampling import samples, samples_together, settled
from equipoise.runs.tracking import Tracker, tracking
from equipoise.runs.view import View

if TYPE_CHECKING:
    from equipoise.runs.run import Run

MOST_PAIRS = 12
"""Pairs in a sample grid."""


class Watcher:
    """The observer of one run. It reads and writes; it never changes the game."""

    def __init__(self, run: "Run", parts: Split, view: View, *, pilot: Pilot | None = None):
        self.run, self.parts, self.view, self.pilot = run, parts, view, pilot
        self.settings = run.recipe.watching
        self.signals, self.events = Journal(run.folder / "signals.jsonl"), Journal(run.folder / "events.jsonl")
        self.record = Record()
        self.diagnosis = Diagnosis()
        self.known: set[str] = set()
        self.board: Tracker | None = None
        self.started = time.monotonic()
        self.mark = (self.started, 0)
        self.written = -1
        """The step of the newest line of the journal."""

    def begin(self, trainer: engine.Trainer) -> None:
        """Look at the game before the first step, or go on where a resumed run stands."""
        self.trainer = trainer
        step = trainer.clock.step
        self.signals.truncate_after(step)
        self.diagnosis = diagnosed(without_undone(read(self.signals.path)))
        self.known = {finding.fault for finding in self.diagnosis.findings()}
        self.board = tracking(self.run, step=step, notice=lambda words: self.on_event(trainer.clock, "warning", words))
        self.mark = (time.monotonic(), trainer.clock.examples)
        self.lookout = Lookout(self.run, trainer, self.parts)
        if step == 0:
            self.picture(0)

    @property
    def seed(self) -> int:
        return self.run.recipe.training.seed

    def close(self) -> None:
        if self.board:
            self.board.close()

    # ---------------------------------------------------------------- the trainer calls

    def before_update(self, clock: Clock, player: str, parameters: Mapping[str, nn.Parameter]) -> None:
        if self.board and clock.every(self.settings.histograms_every):
            self.board.histograms(clock.step, player, {n: (p.detach(), p.grad) for n, p in parameters.items()})

    def after_step(self, clock: Clock, record: engine.Record) -> None:
        for name, value in record.items():
            self.record.add(name, value)
        if "watch/real" in record and "watch/fake" in record:
            real, fake = torch.as_tensor(record["watch/real"]), torch.as_tensor(record["watch/fake"])
            self.record.add("watch/accuracy", right_order(real, fake))
        last = clock.step == clock.total
        looking = self.lookout.due(clock)
        if looking:
            for name, value in self.lookout.look(clock).items():
                self.record.add(f"probe/{name}", value)
        if clock.every(self.settings.samples_every) or last:
            self.picture(clock.step)
        if clock.every(self.settings.signals_every) or last or looking:
            self.report_window(clock)

    def on_event(self, clock: Clock, kind: str, message: str) -> None:
        self.events.append({"step": clock.step, "time": now(), "kind": kind, "message": message})
        self.view.event(message)

    # ---------------------------------------------------------------- what is looked at

    def report_window(self, clock: Clock, *, last: bool = False) -> None:
        """Read the moments of this window; one line for the journal, the view and TensorBoard.

        After the `last` one of a training that cannot go on, the autopilot is not asked; there is none where the step
        was written already.
        """
        if last and clock.step == self.written:
            return
        self.written = clock.step
        signals = {name: {"mean": m.mean, "std": m.std, "count": m.count} for name, m in self.record.read().items()}
        moment, (since, examples) = time.monotonic(), self.mark
        line = {
            "step": clock.step,
            "examples": clock.examples,
            "seconds": round(moment - self.started, 3),
            "images_per_second": round((clock.examples - examples) / max(moment - since, 1e-9), 2),
            "signals": signals,
        }
        self.mark = (moment, clock.examples)
        self.signals.append(line)
        self.view.update(line)
        self.diagnose(line)
        if self.pilot is not None and self.lookout.looked_at == line["step"] and not last:
            self.pilot.consider(self.diagnosis, clock)
        if self.board:
            self.board.scalars(clock.step, signals)

    def diagnose(self, line: Mapping[str, Any]) -> None:
        """Ask the doctor, and tell of what is found for the first time."""
        if line["step"] <= self.diagnosis.history.step:  # after a rollback
            self.diagnosis = diagnosed(without_undone(read(self.signals.path)))
        else:
            self.diagnosis.look(line)
        for finding in self.diagnosis.findings():
            if finding.fault not in self.known:
                self.known.add(finding.fault)
                what = ", ".join(f"{item.signal} {number(item.value)} ({item.healthy})" for item in finding.evidence)
                message = f"{finding.title} since step {finding.since}: {what}. See: equipoise doctor {self.run.id}"
                self.on_event(self.trainer.clock, "finding", message)

    def some_held_out(self, num: int) -> Any:
        """The first held-out examples, as the game takes them."""
        held_out = self.parts.held_out
        return held_out.batch(torch.arange(min(num, len(held_out))), labels=self.run.recipe.game.needs_labels)

    @torch.no_grad()
    def fixed_samples(self, num: int) -> Tensor:
        """From the same latents (or held-out inputs) at every step, so that pictures can be compared.

        Of pairs: what is given, the answer and the target, one after the other; of a game of two domains what a latent
        becomes in each.
        """
        game, place = self.trainer.game, self.trainer.place
        if isinstance(game, LatentGame):
            seed = stable_seed(self.seed, "fixed latents")
            with settled(game, place=place) if self.trainer.averaging.averages else nullcontext():
                if self.run.examples.given is None:
                    return samples(game, num, seed=seed, place=place)
                together = samples_together(game, num // 2, seed=seed, place=place)
            return torch.stack(together, dim=1).flatten(0, 1)
        batch = self.some_held_out(num)
        game.eval()
        with torch.random.fork_rng():
            torch.manual_seed(stable_seed(self.seed, "fixed latents"))
            x = next(iter(game.sample(place(batch)).values())).float().cpu()
        game.train()
        if not is_pair(batch):
            return x
        shown = self.run.recipe.data.shown
        return side_by_side(shown(batch[0].cpu(), given=True), shown(x), shown(batch[1].cpu()))

    def picture(self, step: int) -> None:
        """Samples from fixed latents with the averaged weights, as a labelled PNG in samples/ and on the board."""
        num = self.settings.num_samples if len(self.parts.train.shape) == 3 else 1000
        of_pairs = self.run.examples.given is not None and not isinstance(self.trainer.game, LatentGame)
        with self.trainer.averaging.applied():
            x = self.fixed_samples(min(num, MOST_PAIRS) if of_pairs else num)
        columns = 3 * max(1, round(len(x) ** 0.5 / 3)) if of_pairs else None
        image = draw(self.run.for_looking(self.run.in_units(x)), self.parts.train, columns=columns)
        path = self.run.folder / "samples" / f"step-{step:08d}.png"
        with disk_errors("writing a sample grid", path.parent, num_bytes=image.nbytes):
            label = Label(run=self.run.id, step=step, seed=self.seed)
            if of_pairs:
                label = replace(label, statement=ANSWERED, source_type=RESTORED_SOURCE_TYPE)
            write_png(image, path, label)
            if self.board:
                self.board.picture(step, "samples", path.read_bytes(), *image.shape)


def draw(x: Tensor, source: Source, *, columns: int | None = None):
    """A picture of examples: a grid of images, or points in the plane over the data."""
    if len(source.shape) == 3:
        return grid(x, columns=columns)
    reference = source.examples(torch.arange(min(2000, len(source)))).cpu()
    return scatter(plane(x), plane(reference))


def side_by_side(given: Tensor, answer: Tensor, target: Tensor) -> Tensor:
    """Of each pair what was given, in the size of the target, the answer and the target: [3·N, C, H, W]."""
    if given.shape[1] not in (1, 3):  # without the mask and what else is told
        given = given[:, : target.shape[1]]
    given = torch.nn.functional.interpolate(given.float(), size=target.shape[2:])
    channels = max(given.shape[1], target.shape[1])
    same = [x.float().expand(-1, channels, -1, -1) for x in (given, answer, target)]
    return torch.stack(same, dim=1).flatten(0, 1)


def plane(x: Tensor) -> Tensor:
    """Vectors [N, D] as points [N, 2]: the first two coordinates; a single one lies on a line."""
    return torch.nn.functional.pad(x, (0, 1))[:, :2] if x.shape[1] == 1 else x[:, :2]


def right_order(real: Tensor, fake: Tensor) -> Tensor:
    """For each (real, fake) pair 1 if the critic puts them in the right order, else 0; the mean of a coin is 0.5."""
    return (real[: len(fake)] > fake[: len(real)]).float()


def now() -> str:
    """The time in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
