"""The doctor as a Lightning callback: nothing in the module has to change. Needs the extra `equipoise[lightning]`."""

import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from equipoise.core.errors import RecipeError
from equipoise.doctor.doctor import Doctor, answer, judging, logits_of

if TYPE_CHECKING:
    from pytorch_lightning import Callback, LightningModule, Trainer
else:
    # A trainer of `lightning` wants callbacks of `lightning`, and one of `pytorch_lightning` those of that.
    names = ("lightning.pytorch", "pytorch_lightning")
    for name in sorted(names, key=lambda name: name not in sys.modules):
        with suppress(ImportError):
            Callback = import_module(name).Callback
            break
    else:
        raise ImportError("The callback needs Lightning: pip install 'equipoise[lightning]'.")

GENERATORS = ("generator", "G", "netG", "gen")
CRITICS = ("discriminator", "critic", "D", "netD", "disc")


class DoctorCallback(Callback):
    """Watches the training of a `LightningModule` with a generator and a critic.

        trainer = Trainer(callbacks=[DoctorCallback(held_out=x, latents=torch.randn(256, 64))])

    `held_out` and `train` are real examples [N, *shape] as the critic gets them, `latents` [N, …] what the generator
    takes. The networks are the attributes of the module called `generator` and `critic`; by default their usual
    names are tried. Every `every`-th batch it lets the critic judge that batch and as many fakes, and looks; new
    findings are printed, and all of them when training ends. `callback.doctor` is the `Doctor`.
    """

    def __init__(
        self,
        *,
        held_out: Tensor,
        latents: Tensor,
        train: Tensor | None = None,
        generator: str | None = None,
        critic: str | None = None,
        every: int = 50,
        quiet: bool = False,
    ):
        self.doctor = Doctor(held_out=held_out, train=train, latents=latents, every=every)
        self.names, self.quiet, self.step = (generator, critic), quiet, 0

    def on_train_batch_end(
        self, trainer: "Trainer", pl_module: "LightningModule", outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One more step: every now and then the doctor looks."""
        G, D = (part(pl_module, name, usual) for name, usual in zip(self.names, (GENERATORS, CRITICS), strict=True))
        if self.doctor.due(self.step):
            self.doctor.to(pl_module.device)
            x = first_tensor(batch)
            with torch.no_grad(), torch.random.fork_rng(devices=[]), judging([G, D]):
                assert self.doctor.latents is not None
                fake = answer(G, self.doctor.latents[: len(x)], "latents")
                real_logits, fake_logits = logits_of(D, x), logits_of(D, fake)
            found = self.doctor.observe(
                self.step, real_logits=real_logits, fake_logits=fake_logits, fake=fake, G=G, D=D
            )
            for finding in [] if self.quiet else found:
                print(f"{finding.title} since step {finding.since}: {finding.explanation}")
        else:
            self.doctor.remember(self.step, G=G, D=D)
        self.step += 1

    def on_train_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Print all that was found."""
        if not self.quiet:
            print(self.doctor)


def part(module: nn.Module, name: str | None, usual: tuple[str, ...]) -> nn.Module:
    """A network of a module. Raises `RecipeError` if there is none of that name, or of any usual name."""
    for candidate in (name,) if name else usual:
        found = getattr(module, candidate, None)
        if isinstance(found, nn.Module):
            return found
    tried = name or ", ".join(usual)
    raise RecipeError(
        f"{type(module).__name__} has no network called {tried}. Say which it is: "
        'DoctorCallback(generator="…", critic="…").'
    )


def first_tensor(batch: Any) -> Tensor:
    """The examples of a batch: itself, or the first tensor in it. Raises `RecipeError` where there is none."""
    if isinstance(batch, Tensor):
        return batch
    values = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, list | tuple) else ()
    for value in values:
        if isinstance(value, Tensor):
            return value
    raise RecipeError(f"A batch of type {type(batch).__name__} holds no tensor: expected examples, alone or first.")
