"""The lookout of a run: what its probes look at, and when."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from equipoise.core.errors import RecipeError
from equipoise.core.game import Clock, LatentGame
from equipoise.core.seeding import generator, seed_torch, stable_seed
from equipoise.data.pictures import is_pair
from equipoise.data.source import Source, Split
from equipoise.engine import trainer as engine
from equipoise.monitor.probes import NUM, Cadence, Scene, looked_at, remembered, watching_units
from equipoise.monitor.spaces import Space, space_of

if TYPE_CHECKING:
    from equipoise.runs.run import Run

FEWEST = 16
"""Examples below which nothing can be said."""


class Some(NamedTuple):
    """Examples that are looked at, their labels if the game takes any, and the batch of them that the game takes."""

    x: Tensor
    labels: Tensor | None
    batch: Any


class Lookout:
    """Probes a game now and then: the same held-out and training examples and the same latents every time.

    A look changes nothing: no weight, no buffer, no randomness of training.
    """

    def __init__(self, run: "Run", trainer: engine.Trainer, parts: Split):
        self.trainer, self.labelled = trainer, run.recipe.game.needs_labels
        self.seed = run.recipe.training.seed
        self.cadence = Cadence()
        settings = run.recipe.watching
        self.every = None if settings.probes_every == "off" else settings.probes_every
        self.train, self.held_out = self.some(parts.train), self.some(parts.held_out)
        self.scene = Scene(space=self.space(run, parts))
        self.mark = (time.monotonic(), trainer.clock.step)
        self.looked_at = -1
        """The step of the last look."""

    def space(self, run: "Run", parts: Split) -> Space:
        """Where examples are compared. Raises `RecipeError` for the features of a critic that has none."""
        name = run.recipe.watching.space
        if name == "trained":
            return run.extractor(parts.train, parts.held_out).features
        if name == "critic":
            self.critic_features(self.train.x[:1])  # is there such a thing?
            return self.critic_features
        space = space_of(name, tuple(self.train.x.shape[1:]))
        return space.to(self.trainer.device) if isinstance(space, torch.nn.Module) else space

    def critic_features(self, x: Tensor) -> Tensor:
        """What the critic sees of examples, all of them as of the first class where it asks for one."""
        labels = torch.zeros(len(x), dtype=torch.long, device=x.device) if self.labelled else None
        features = self.trainer.game.described(batch(x, labels))
        if features is None:
            raise RecipeError('watching.space = "critic": this game\'s critic shows no features. Use "random".')
        return features.float()

    def some(self, source: Source) -> Some:
        """Examples of a source, always the same."""
        indices = torch.randperm(len(source), generator=generator(0, "probes"))[:NUM]
        place = self.trainer.place
        labels = place(source.labels(indices)) if self.labelled else None
        return Some(place(source.examples(indices)), labels, place(source.batch(indices, labels=self.labelled)))

    def due(self, clock: Clock) -> bool:
        """Whether it is time to look."""
        if self.every is None or min(len(self.train.x), len(self.held_out.x)) < FEWEST:
            return False
        return (
            clock.every(self.cadence.interval if self.every == "auto" else int(self.every)) or clock.step == clock.total
        )

    def look(self, clock: Clock) -> dict[str, Tensor]:
        """All numbers of this look; the time it took decides when the next one is due."""
        begin = time.monotonic()
        since, step = self.mark
        training = self.trainer.game.training
        self.trainer.game.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng():
                seed_torch(stable_seed(self.seed, "look"), self.trainer.device)
                scene = self.seen(clock)
                numbers = looked_at(scene)
        finally:
            self.trainer.game.train(training)
        if scene.fake is not None:
            self.scene = replace(self.scene, past=remembered(scene, scene.fake))
        end = time.monotonic()
        if clock.step > step:
            self.cadence.learn(cost=end - begin, seconds_per_step=(begin - since) / (clock.step - step))
        self.mark, self.looked_at = (end, clock.step), clock.step
        return numbers

    def seen(self, clock: Clock) -> Scene:
        """What there is to look at now."""
        game, train, held_out = self.trainer.game, self.train, self.held_out
        scene = replace(
            self.scene,
            train=train.x,
            held_out=held_out.x,
            train_labels=None if train.labels is None or (train.labels < 0).any() else train.labels,
            train_logits=game.judge(train.batch),
            held_out_logits=game.judge(held_out.batch),
        )
        shown = game.shown(held_out.batch, clock)
        if shown is not held_out.batch:
            scene = replace(scene, shown=shown[0] if isinstance(shown, tuple) else shown)
        if not isinstance(game, LatentGame):
            return self.answered(scene)
        latents = generator(self.seed, "probe latents")
        z = self.trainer.place(torch.randn(len(held_out.x), game.z_dim, generator=latents))
        labels = held_out.labels if game.num_classes else None
        with watching_units(game) as still:
            fake = game.generate(z, labels)
        scene = replace(
            scene,
            still=tuple(still),
            fake=fake,
            fake_labels=labels,
            fake_logits=game.judge(batch(fake, held_out.labels)),
        )
        if labels is not None:
            scene = replace(scene, relabelled=game.generate(z, (labels + 1) % game.num_classes))
        return scene

    def answered(self, scene: Scene) -> Scene:
        """What a game makes of inputs, of each other's inputs with the same noise, and again with other noise."""
        game, noise, held_out = self.trainer.game, stable_seed(self.seed, "probe latents"), self.held_out

        def outputs(taken: Any, seed: int) -> Tensor:
            seed_torch(seed, self.trainer.device)
            return next(iter(game.sample(taken).values()))

        with watching_units(game) as still:
            fake = outputs(held_out.batch, noise)
        if fake.shape != held_out.x.shape:
            return scene
        first, *rest = held_out.batch if isinstance(held_out.batch, tuple) else (held_out.batch,)
        turned = first.roll(1, dims=0)
        swapped, again = outputs((turned, *rest) if rest else turned, noise), outputs(held_out.batch, noise + 1)
        scene = replace(scene, still=tuple(still), fake=fake, swapped=swapped, again=again)
        if is_pair(held_out.batch):
            scene = replace(scene, fake_logits=game.judge((first, fake)))
        return scene


def batch(x: Tensor, labels: Tensor | None) -> Any:
    """Data as a game takes it."""
    return x if labels is None else (x, labels)
