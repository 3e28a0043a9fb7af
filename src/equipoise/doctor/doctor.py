"""The doctor for any PyTorch loop: tensors and modules in, findings out."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from equipoise.doctor.diagnosis import Diagnosis
from equipoise.doctor.finding import Finding
from equipoise.doctor.words import told
from equipoise.monitor.probes import NUM, Scene, looked_at, remembered, watching_units
from equipoise.monitor.spaces import space_of

SOON = (2, 5, 10)
Space = Literal["pixels", "random"]


class Doctor:
    """Watches a training that is not ours.

    >>> G, D = nn.Linear(2, 2), nn.Linear(2, 1)
    >>> doctor = Doctor(held_out=torch.randn(64, 2), every=10)
    >>> for step in range(20):
    ...     real, fake = torch.randn(8, 2), G(torch.randn(8, 2))
    ...     new = doctor.observe(step, real_logits=D(real), fake_logits=D(fake), fake=fake, G=G, D=D)
    >>> doctor.findings()
    []

    Give it what there is. Two tensors of logits tell little; with held-out examples it sees overfitting and the
    distance to the data, with the networks the size of updates and dead units, with latents the same fakes each time.
    Call `observe` at every step: only at every `every`-th, and at a few early ones, does it look, in about the time of
    a few steps.
    `held_out` and `train` are real examples [N, *shape] as the critic gets them, `latents` what the generator takes.
    """

    def __init__(
        self,
        *,
        held_out: Tensor | None = None,
        train: Tensor | None = None,
        latents: Tensor | None = None,
        every: int = 50,
        space: Space = "random",
    ):
        if every < 1:
            raise ValueError(f"every = {every}: expected a number of steps of at least 1.")
        if space not in get_args(Space):
            raise ValueError(f"space = {space!r}: expected one of {', '.join(get_args(Space))}.")
        for name, x in (("held_out", held_out), ("train", train)):
            check_examples(name, x)
        self.every, self.latents = every, latents
        self.diagnosis = Diagnosis()
        some = held_out if held_out is not None else train
        space_of_examples = space_of(space, tuple(some.shape[1:])) if some is not None else Scene.space
        held_out, train = (None if x is None else x[:NUM] for x in (held_out, train))
        self.scene = Scene(held_out=held_out, train=train, space=space_of_examples)
        self.fakes: list[Tensor] = []
        self.weights: dict[str, list[Tensor]] = {}
        self.weighed_at = -1
        """The step after which those weights were the networks'."""
        self.known: set[str] = set()
        self.step = 0
        """Of the newest call."""

    @torch.no_grad()
    def observe(
        self,
        step: int,
        *,
        real_logits: Tensor,
        fake_logits: Tensor,
        fake: Tensor | None = None,
        G: nn.Module | None = None,
        D: nn.Module | None = None,
        losses: Mapping[str, Tensor | float] | None = None,
    ) -> list[Finding]:
        """Take in one step; what was found for the first time is returned, and is in `findings()` from now on.

        Logits [N] or [N, ...] (means are taken over the rest), the fakes [N, *shape] that they are of, the networks
        after their updates, and losses by name. Raises ValueError for what is not that: fakes of another shape than the
        held-out ones, steps that begin anew, logits that are a single number.
        """
        if step < self.step:
            raise ValueError(f"step {step} after step {self.step}: expected a number that counts through all epochs.")
        self.step = step
        real_logits, fake_logits = flat(real_logits), flat(fake_logits)
        numbers: dict[str, Tensor | float] = dict(losses or {})
        if odd := [name for name, value in numbers.items() if not isinstance(value, Tensor | int | float)]:
            raise ValueError(f"The loss {odd[0]!r} is {numbers[odd[0]]!r}: expected a number or a tensor.")
        if fake is not None and self.scene.held_out is not None:
            self.check(fake)
            self.fakes = [*self.fakes, fake.detach()][-max(NUM // max(len(fake), 1), 1) :]
        if not self.due(step):
            self.remember(step, G=G, D=D)
            return []
        players = {name: net for name, net in (("G", G), ("D", D)) if net is not None}
        for name, net in players.items():
            before = self.weights.get(name) if self.weighed_at == step - 1 else None
            numbers |= moved(name, list(net.parameters()), before)
        self.remember(step, G=G, D=D)
        devices = sorted({x.device for x in (real_logits, fake_logits) if x.is_cuda}, key=str)
        with judging([*players.values()]), torch.random.fork_rng(devices=devices):
            scene = self.seen(real_logits, fake_logits, G, D)
            numbers |= looked_at(scene)
        if scene.fake is not None and self.latents is not None:
            self.scene = replace(self.scene, past=remembered(scene, scene.fake))
        self.diagnosis.observe(step, {name: float(torch.as_tensor(v).float().mean()) for name, v in numbers.items()})
        found = [finding for finding in self.findings() if finding.fault not in self.known]
        self.known |= {finding.fault for finding in found}
        return found

    def due(self, step: int) -> bool:
        """Whether `observe` will look at this step; the first looks come early, since rates too high kill at once."""
        return step in SOON or (step > 0 and step % self.every == 0)

    @torch.no_grad()
    def remember(self, step: int, *, G: nn.Module | None = None, D: nn.Module | None = None) -> None:
        """Instead of `observe` at a step at which it would not look: so that it knows the next update."""
        if self.due(step + 1):
            self.weighed_at = step
            players = {name: net for name, net in (("G", G), ("D", D)) if net is not None}
            self.weights = {name: [p.detach().clone() for p in net.parameters()] for name, net in players.items()}

    def to(self, device: torch.device | str) -> "Doctor":
        """Look at examples on this device; returns itself."""
        tensors = {name: x.to(device) for name, x in vars(self.scene).items() if isinstance(x, Tensor)}
        space = self.scene.space.to(device) if isinstance(self.scene.space, nn.Module) else self.scene.space
        self.scene = replace(self.scene, **tensors, space=space, past=tuple(x.to(device) for x in self.scene.past))
        self.latents = None if self.latents is None else self.latents.to(device)
        return self

    def findings(self) -> list[Finding]:
        """All that was found, the first persistent cause first."""
        return self.diagnosis.findings()

    def __str__(self) -> str:
        looks = len(self.diagnosis.history.steps)
        return told(self.findings(), self.diagnosis.silent(), looks=looks, recipe=False)

    # ---------------------------------------------------------------- what is looked at

    def seen(self, real: Tensor, fake: Tensor, G: nn.Module | None, D: nn.Module | None) -> Scene:
        """What there is to look at now."""
        made = torch.cat(self.fakes) if self.fakes else None
        if G is not None and self.latents is not None:
            with watching_units(G) as still:
                made = answer(G, self.latents, "latents").detach()
            self.scene = replace(self.scene, still=tuple(still))
        scene = replace(self.scene, fake=made, fake_logits=fake)
        known = {}
        if D is not None:
            judged = {"held_out": scene.held_out, "train": scene.train, "fake": made}
            known = {f"{name}_logits": logits_of(D, x) for name, x in judged.items() if x is not None}
        if "held_out_logits" not in known:
            return replace(scene, **{**known, "held_out_logits": real})  # the best there is
        return replace(scene, **{"train_logits": real, **known})

    def check(self, fake: Tensor) -> None:
        """Raise ValueError unless fakes are of the shape of the held-out examples."""
        assert self.scene.held_out is not None
        if fake.shape[1:] != self.scene.held_out.shape[1:]:
            raise ValueError(
                f"fake has the shape {tuple(fake.shape)}, but held_out {tuple(self.scene.held_out.shape)}: expected "
                "the same shape behind the number of examples."
            )


def check_examples(name: str, x: Tensor | None) -> None:
    """Raise ValueError unless these are enough examples, and numbers."""
    if x is None:
        return
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} is of the type {type(x).__name__}: expected a tensor of examples, [N, ...].")
    if x.ndim < 2 or len(x) < 16:
        raise ValueError(
            f"{name} has the shape {tuple(x.shape)}: expected at least 16 examples, [N, ...]; 256 are better."
        )
    if not x.isfinite().all():
        raise ValueError(f"{name} holds values that are not finite (NaN or ±∞). Clean the data, or leave them out.")


@contextmanager
def judging(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Inside, the networks are in eval mode; afterwards, every module's mode is as before."""
    modes = [(module, module.training) for network in networks for module in network.modules()]
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def flat(logits: Tensor) -> Tensor:
    """One logit per example. Raises ValueError for a single number, or none."""
    if not isinstance(logits, Tensor) or logits.ndim == 0 or not logits.numel():
        raise ValueError("Logits are a single number, or none: expected one per example, a tensor [N] or [N, ...].")
    return logits.detach().float().flatten(1).mean(1) if logits.ndim > 1 else logits.detach().float()


def logits_of(D: nn.Module, x: Tensor) -> Tensor:
    """What a critic says, whether it answers a tensor or something whose first or `logits` part is one."""
    said = answer(D, x, "examples")
    said = getattr(said, "logits", said["logits"] if isinstance(said, Mapping) and "logits" in said else said)
    said = said[0] if isinstance(said, tuple | list) else said
    if not isinstance(said, Tensor):
        raise ValueError(f"D answers {type(said).__name__}: expected a tensor of logits, or something with `logits`.")
    return flat(said)


def answer(network: nn.Module, x: Tensor, what: str) -> Any:
    """What a network says to examples or latents, in its own precision. Raises ValueError where it asks for more."""
    parameter = next((p for p in network.parameters() if p.is_floating_point()), None)
    try:
        return network(x if parameter is None else x.to(parameter.device, parameter.dtype))
    except torch.OutOfMemoryError:
        raise
    except (TypeError, RuntimeError) as error:
        raise ValueError(
            f"{type(network).__name__} cannot be called with {what} alone, of the shape {tuple(x.shape)}: {error}. "
            "Pass a module that fills in the rest, or leave the network out."
        ) from error


def moved(player: str, weights: list[Tensor], before: list[Tensor] | None) -> dict[str, Tensor]:
    """The size of the last update and of the gradient, where they can be known."""
    numbers = {}
    gradients = [p.grad for p in weights if p.grad is not None]
    if gradients:
        numbers[f"gradient/{player}"] = torch.nn.utils.get_total_norm(gradients)
    if before and len(before) == len(weights):
        steps = torch.nn.utils.get_total_norm(torch._foreach_sub([p.detach() for p in weights], before))
        numbers[f"update/{player}"] = steps / torch.nn.utils.get_total_norm(before).clamp_min(1e-12)
    return numbers
