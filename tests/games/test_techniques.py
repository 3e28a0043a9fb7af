"""Every technique trains in a convolutional game, survives resume there, and does what its paper says."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from equipoise.core.errors import RecipeError
from equipoise.core.game import Clock, Verdict
from equipoise.data.digits import digits
from equipoise.data.loader import Loader
from equipoise.data.toy import Mixture
from equipoise.engine.conformance import check_game
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan, Trainer
from equipoise.games.gan import GAN
from equipoise.games.jury import MultiAdversarial, RandomSubset
from equipoise.games.round import Round
from equipoise.games.terms import Orthogonality
from equipoise.games.toolbox import Toolbox
from equipoise.networks.ensemble import Clusters, Specialists
from equipoise.networks.mlp import MLPCritic, MLPGenerator
from equipoise.networks.progressive import WHOLE
from equipoise.objectives import by_difference, hinge, non_saturating, r1, r2, wasserstein
from equipoise.runs.parts import LOSSES, PENALTIES, Examples
from equipoise.runs.recipe import Recipe, with_settings
from equipoise.runs.run import Run
from equipoise.runs.sampling import samples

BASE = {"game.network.kind": "dcgan", "game.network.width": 4, "game.z_dim": 16, "training.precision": "fp32"}
EXAMPLES = Examples("digits", (1, 8, 8))
LABELLED = Examples("digits", (1, 8, 8), tuple("0123456789"))

SWITCHES = [
    "targets",
    "consistency",
    "latent_consistency",
    "lecam",
    "adversarial_examples",
    "orthogonality",
    "l1",
    "historical_averaging",
    "feature_matching",
    "mode_seeking",
    "diversity_sensitive",
    "entropy",
    "mutual_information",
    "path_length",
    "diffaugment",
    "ada",
    "apa",
    "instance_noise",
    "critics",
    "past_critics",
    "throttle",
    "top_k",
]
TECHNIQUES: dict[str, dict[str, Any]] = {
    **{f"loss {name}": {"game.loss": name} for name in LOSSES},
    **{f"penalty {name}": {"game.penalties": {name: 1.0}} for name in PENALTIES},
    **{
        f"difference {name}": {"game.penalties": {name: 1.0}, "game.penalty_form": "finite-difference"}
        for name in PENALTIES
    },
    **{name: {f"game.{name}": True} for name in SWITCHES},
    "separate": {"game.penalties": {"r1": {"weight": 0.5, "every": 2}}, "game.separate_penalties": True},
    "clipping": {"game.clip": 0.05},
    "random subset": {"game.critics.how": "random-subset"},
    "specialists": {"game.critics.how": "specialists"},
    "matching alone": {"game.feature_matching.alone": True},
    "simultaneous": {"game.order": "simultaneous"},
    "unrolled": {"game.unrolled": 2},
    "packing": {"game.packing": 2},
    "packs of known codes": {"game.packing": 2, "game.entropy": True, "game.mutual_information": True},
    "critic steps": {"game.critic_steps": 2},
    "deviation": {"game.network.minibatch": "deviation"},
    "discrimination": {"game.network.minibatch": "discrimination"},
    "dropout": {"game.network.dropout": 0.3},
    "spectral": {"game.network.critic_normalisation": "spectral"},
    "pixel": {"game.network.generator_normalisation": "pixel"},
    "kaiming": {"game.network.initialisation": "kaiming"},
    "orthogonal": {"game.network.initialisation": "orthogonal"},
    "normal": {"game.network.initialisation": "normal"},
    "progressive": {"game.network.kind": "progressive", "game.network.width": 4},
}
UNLABELLED_ONLY = {"packing", "packs of known codes"}


def recipe(settings: dict[str, Any], *, kind: str = "gan") -> Recipe:
    return with_settings(Recipe(), {"game.kind": kind, **BASE, **settings})


def built(settings: dict[str, Any]) -> GAN:
    torch.manual_seed(0)
    game = recipe(settings).game.build(EXAMPLES)
    assert isinstance(game, GAN)
    return game


def trained(settings: dict[str, Any], *, steps: int = 3) -> Trainer:
    """A trainer of the recipe on the digits, after some steps."""
    settings = {"training.steps": 10, **settings}
    run = Run(None, recipe(settings), "test", EXAMPLES)  # type: ignore[arg-type]
    trainer = run.trainer(digits())
    trainer.fit(until=steps)
    return trainer


@pytest.mark.parametrize("name", TECHNIQUES)
def test_every_technique_trains_and_resumes_in_a_convolutional_game(name):
    settings = recipe(TECHNIQUES[name]).game
    check_game(lambda: settings.build(EXAMPLES), Loader(digits(), labels=False, seed=0), batch=8, sample_range=(-1, 1))


@pytest.mark.parametrize("name", [name for name in TECHNIQUES if name not in UNLABELLED_ONLY])
def test_every_technique_trains_and_resumes_with_labels(name):
    settings = recipe(TECHNIQUES[name], kind="conditional").game
    check_game(lambda: settings.build(LABELLED), Loader(digits(), labels=True, seed=0), batch=8, sample_range=(-1, 1))


def test_many_techniques_together_train():
    together = {
        "game.loss": "hinge",
        "game.penalties": {"r1": {"weight": 0.1, "every": 2}, "r2": 0.1},
        "game.packing": 2,
        "game.critics": 2,
        "game.ada": True,
        "game.apa": True,
        "game.lecam": True,
        "game.consistency": True,
        "game.feature_matching": 0.1,
        "game.mode_seeking": True,
        "game.historical_averaging": True,
        "game.orthogonality": True,
        "game.throttle": True,
        "game.unrolled": 1,
        "game.network.critic_normalisation": "spectral",
        "game.network.minibatch": "deviation",
        "training.lookahead": {},
        "training.batch": 16,
    }
    trainer = trained(together)
    assert all(torch.isfinite(p).all() for p in trainer.game.parameters())


# ---------------------------------------------------------------- what the critic sees


class Spy(nn.Module):
    """A linear critic that keeps what it was shown."""

    def __init__(self, num_features: int, num_logits: int = 1):
        super().__init__()
        self.linear = nn.Linear(num_features, num_logits)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Verdict:
        self.seen.append(x.detach())
        logits = self.linear(x.flatten(1))
        return Verdict(logits if logits.shape[1] > 1 else logits.squeeze(1), (x,))


class Echo(nn.Module):
    """A generator of one parameter: z is the example."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.0))

    def forward(self, z: Tensor) -> Tensor:
        return self.gain * z


def points(position: int, size: int) -> Tensor:
    return torch.arange(position, position + size, dtype=torch.float32)[:, None].repeat(1, 2)


def echo(D: nn.Module, *, loss=non_saturating, **tools: Any) -> GAN:
    return GAN(Echo(), D, z_dim=2, loss=loss, tools=Toolbox(**tools))


def moves(game: GAN, clock: Clock | None = None, *, batch: int = 6) -> list:
    data = iter([points(0, batch), points(batch, batch), points(2 * batch, batch)])
    return list(game.step(data, clock or Clock(step=1, total=10, reuse=True)))


def test_a_packed_critic_sees_m_examples_at_once():
    game = echo(Spy(4), packing=2)
    critic, generator = moves(game)
    first_real = game.D.seen[0]
    assert torch.equal(first_real[0], torch.tensor([0.0, 0.0, 1.0, 1.0]))
    assert torch.equal(first_real[2], torch.tensor([4.0, 4.0, 5.0, 5.0]))
    assert len(critic.watch["real"]) == 3
    assert len(generator.terms["adversarial"]) == 3
    assert len(game.judge(points(0, 6))) == 6


def test_top_k_trains_on_the_fakes_that_the_critic_likes_best():
    game = echo(Spy(2), loss=wasserstein, top_k=0.5)
    generator = moves(game)[-1]
    logits = game.D.linear(game.D.seen[-1]).squeeze(1)
    expected = -logits.sort(descending=True).values[:3]
    assert torch.allclose(generator.terms["adversarial"].sort().values, expected.sort().values)


def test_a_winning_critic_waits_and_a_losing_one_comes_back():
    game = built({"game.throttle.above": 0.6})
    loader = Loader(digits(), labels=False, seed=0)
    clock = Clock(step=1, total=10, reuse=True)
    throttle = game.tools.throttle
    throttle.accuracy.fill_(0.7)
    assert [move.player for move in game.step(iter([loader(0, 8)]), clock)] == ["G"]
    throttle.accuracy.fill_(0.5)
    assert [move.player for move in game.step(iter([loader(0, 8)]), clock)] == ["D", "G"]
    losing, winning = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0])
    assert float(throttle.measured(winning, losing)) > 0.5 > float(throttle.measured(losing, winning))


def test_ada_raises_p_on_an_overfitting_critic_and_lowers_it_again():
    game = built({"game.ada.span": 100})
    ada = game.tools.augmentations[0]

    def look(sign: float) -> float:
        for buffer, value in ada.news(torch.full((8,), sign), 8):
            buffer.copy_(value)
        return float(ada.dose.p)

    rising = [look(1.0) for _ in range(40)]
    assert rising[-1] == pytest.approx(0.8)
    assert rising == sorted(rising)
    falling = [look(-1.0) for _ in range(40)]
    assert falling[-1] == 0.0
    assert max(rising + falling) <= 0.8 + 1e-6


@pytest.mark.parametrize(("packing", "accumulate"), [(1, 1), (4, 1), (1, 4), (4, 2)])
def test_ada_moves_as_fast_whatever_the_packs_and_micro_batches(packing, accumulate):
    settings = {
        "game.ada": {"span": 1000, "target": 0.5},
        "game.packing": packing,
        "training.accumulate": accumulate,
        "training.batch": 32,
        "players.D.learning_rate": 0.0,
        "players.G.learning_rate": 0.0,
    }
    trainer = trained({**settings, "training.steps": 10}, steps=0)
    torch.nn.init.constant_(trainer.game.D.head.logit.bias, 5.0)  # a critic that takes all for real
    trainer.fit(until=5)
    # r_t rises to 1 as 1 - (3/4)ⁿ; it is above the target from the third step on: two steps down, held at 0, three up
    assert float(trainer.game.tools.augmentations[0].dose.p) == pytest.approx(3 * 32 / 1000)


def test_pseudo_real_examples_are_fakes():
    game = echo(Spy(2))
    from equipoise.games.augmentation import PseudoReal

    game = GAN(Echo(), Spy(2), z_dim=2, loss=non_saturating, tools=Toolbox(pseudo=PseudoReal()))
    game.tools.pseudo.dose.p.fill_(1.0)
    critic = next(iter(game.step(iter([points(0, 6)]), Clock(reuse=True))))
    assert critic.player == "D"
    assert torch.equal(game.D.seen[0], game.D.seen[1])  # all "real" examples were the fakes


# ---------------------------------------------------------------- several critics


def test_the_generator_of_many_critics_minimises_their_soft_maximum():
    losses = torch.tensor([[1.0, 3.0], [1.0, 3.0]])
    weights = torch.softmax(torch.tensor([2.0, 6.0]), 0)
    assert float(MultiAdversarial(2.0).of_generator(losses)) == pytest.approx(float(weights @ torch.tensor([1.0, 3.0])))
    assert float(MultiAdversarial(0.0).of_generator(losses)) == pytest.approx(2.0)


def test_a_random_subset_of_critics_is_never_empty():
    jury, losses = RandomSubset(0.2), torch.tensor([[1.0, 2.0, 4.0]])
    torch.manual_seed(0)
    found = {round(float(jury.of_critics(losses)), 3) for _ in range(200)}
    assert {1.0, 2.0, 4.0} <= found  # each alone, at times
    assert len(found) > 3  # and some together
    assert 0.0 not in found


def test_a_specialist_judges_above_all_examples_of_its_cluster():
    clusters = Clusters(2, (2,))
    x = torch.tensor([[-5.0, 0.0], [-5.0, 0.0], [5.0, 0.0], [5.0, 0.0]])
    for buffer, value in clusters.news(x):
        buffer.copy_(value)
    members = [Spy(2), Spy(2)]
    left = int(clusters.assign(x)[0])
    # at a centroid, the other one is at the distance d between centroids: weights 1 and e⁻², over their sum
    own = 1 / (1 + math.exp(-2))
    assert clusters.membership(x)[:, left].tolist() == pytest.approx([own, own, 1 - own, 1 - own], rel=1e-5)
    expected = own * members[left](x).logits[:2] + (1 - own) * members[1 - left](x).logits[:2]
    assert torch.allclose(Specialists(members, clusters)(x).logits[:2], expected)


@pytest.mark.parametrize("how", ["multi-adversarial", "random-subset", "specialists"])
def test_a_generator_before_several_critics_still_finds_the_data(how):
    """Two points far apart: after a short training all samples are near one of them, and both are found."""
    mixture = Mixture("pair", torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), 0.05)
    settings = {
        "game.network.kind": "mlp",
        "game.network.width": 32,
        "game.z_dim": 2,
        "game.critics": {"num": 2, "how": how},
        "game.penalties": {"r1": 0.05, "r2": 0.05},
        "players.D": {"learning_rate": 2e-3, "betas": (0.5, 0.99)},
        "players.G": {"learning_rate": 2e-3, "betas": (0.5, 0.99)},
        "training.steps": 600,
        "training.precision": "fp32",
    }
    asked = with_settings(Recipe(), settings)
    trainer = Run(None, asked, "test", Examples("pair", (2,))).trainer(mixture.source(5000))  # type: ignore[arg-type]
    trainer.fit()
    with trainer.averaging.applied():
        x = samples(trainer.game, 500, seed=0)
    distance = torch.cdist(x, mixture.centers).min(1)
    assert (distance.values < 0.4).float().mean() > 0.7
    assert len(distance.indices[distance.values < 0.4].unique()) == 2


def test_the_pool_holds_critics_of_the_past():
    trainer = trained({"game.past_critics": {"size": 2, "every": 2}}, steps=5)
    past, D = trainer.game.tools.past, trainer.game.D
    x = digits().examples(torch.arange(4))
    before = past.pool(D, x)
    with torch.no_grad():
        D.head.logit.bias += 1.0
    now = D(x).logits
    assert before.shape == (4, 2)
    assert not any(torch.allclose(column, now, atol=1e-3) for column in before.T)
    past.pool.remember(D)
    assert any(torch.allclose(column, now, atol=1e-6) for column in past.pool(D, x).T)


def test_unrolling_one_step_is_the_critic_after_one_differentiated_step():
    """G's gradient is that of the loss before the critic D - lr · ∇D loss(D, G), worked out by hand with autograd."""
    settings = {"D": Optimizer(rule="sgd", learning_rate=0.1), "G": Optimizer(rule="sgd", learning_rate=0.1)}
    torch.manual_seed(1)
    game = echo(Spy(2), loss=wasserstein, unrolled=1)
    weight, bias = game.D.linear.weight.detach().clone(), game.D.linear.bias.detach().clone()
    plan = Plan(steps=1, batch=4, ema_half_life=0, precision="fp32", threads=1)
    trainer = Trainer(game, points, players=settings, plan=plan)
    x = points(0, 4)
    step = game.step(iter([x]), replace(trainer.clock, reuse=True))
    next(step)  # D's move; it is not applied, so that D stands where it stood
    gain = game.G.gain
    torch.manual_seed(7)
    (generator,) = list(step)
    z = game.D.seen[-1] / gain.detach()
    (found,) = torch.autograd.grad(generator.terms["adversarial"].mean(), gain)
    # wasserstein: d = f - r, so ∇_w = E[gz] - E[x]; w' = w - 0.1 (E[gz] - E[x]); G minimises -E[w'·gz] - b'
    g = gain.detach().clone().requires_grad_()
    ahead = weight[0] - 0.1 * ((g * z).mean(0) - x.mean(0))
    (expected,) = torch.autograd.grad(-((g * z) @ ahead).mean(), g)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.equal(game.D.linear.weight, weight)
    assert torch.equal(game.D.linear.bias, bias)


def test_simultaneous_moves_are_one_turn():
    turns = moves(echo(Spy(2), simultaneous=True))
    assert [tuple(move.player for move in turn) for turn in turns] == [("D", "G")]


# ---------------------------------------------------------------- state


def test_lecam_remembers_running_means_of_the_logits():
    game = built({"game.lecam.decay": 0.5, "game.loss": "hinge"})
    loader = Loader(digits(), labels=False, seed=0)
    critic = next(iter(game.step(iter([loader(0, 8)]), Clock(reuse=True))))
    name = next(name for name in critic.remember if name.endswith(".real"))
    assert float(critic.remember[name]) == pytest.approx(float(critic.watch["real"].mean()) / 2, abs=1e-6)


def test_historical_averaging_pulls_to_the_running_mean():
    trainer = trained({"game.historical_averaging": {"decay": 0.5}}, steps=0)
    D, term = trainer.game.D, trainer.game.terms["D/historical"]
    path = [[p.detach().clone() for p in D.parameters()]]
    for step in (1, 2, 3):
        trainer.fit(until=step)
        path.append([p.detach().clone() for p in D.parameters()])
    # the mean moves half-way to where the player stood before each of its moves
    for first, second, third, mean in zip(path[0], path[1], path[2], term.buffers()):
        assert torch.allclose(mean, first / 4 + second / 4 + third / 2, atol=1e-7)


def test_separate_penalties_are_moves_of_their_own_with_corrected_constants():
    chosen = {"game.penalties": {"r1": {"weight": 1.0, "every": 4}}, "game.separate_penalties": True}
    trainer = trained(chosen, steps=1)
    loader = Loader(digits(), labels=False, seed=0)
    at = {
        step: [m.player for m in trainer.game.step(iter([loader(0, 8)]), replace(trainer.clock, step=step))]
        for step in (4, 5)
    }
    assert at == {4: ["D", "D", "G"], 5: ["D", "G"]}
    assert trainer.seats["D"].settings.learning_rate == pytest.approx(2e-4 * 4 / 5)
    assert trainer.seats["D"].settings.betas == pytest.approx((0.0, 0.99 ** (4 / 5)))
    assert trainer.seats["G"].settings.learning_rate == pytest.approx(2e-4)


def test_mutual_information_gives_the_generator_a_category():
    game = built({"game.mutual_information": {"num_categories": 3, "num_continuous": 1}})
    z = torch.tensor([[0.1, 2.0, -1.0, 0.5] + [0.0] * 12])
    assert game.coded(z)[0, :4].tolist() == [0.0, 1.0, 0.0, 0.5]


def test_progressive_networks_grow_with_training():
    game = built(TECHNIQUES["progressive"])
    loader = Loader(digits(), labels=False, seed=0)
    for step, level in ((0, 0.0), (9, 1.0)):
        list(game.step(iter([loader(0, 8)]), Clock(step=step, total=10, reuse=True)))
        assert int(game.G.grown) == int(game.D.grown) == level * WHOLE


# ---------------------------------------------------------------- what cannot be combined

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "packs of labelled examples": (
        {"game.kind": "conditional", "game.packing": 2},
        "judges one example by its own class",
    ),
    "packs and paths": ({"game.packing": 2, "game.path_length": True}, "the latent of one"),
    "packs of an odd batch": ({"game.packing": 3}, "multiple of"),
    "packs of a batch that grows": (
        {"game.packing": 4, "training.batch": {"start": 64, "end": 128}},
        "multiple of",
    ),
    "deviation of one example": (
        {"game.network.minibatch": "deviation", "training.batch": 4, "training.accumulate": 4},
        "compares the examples of a batch",
    ),
    "deviation of one pack": (
        {"game.network.minibatch": "deviation", "game.packing": 4, "training.batch": 4},
        "compares the examples of a batch",
    ),
    "lecam of differences": ({"game.lecam": True, "game.loss": "relativistic-pairing"}, "only compares logits"),
    "ada of differences": ({"game.ada": True, "game.loss": "wasserstein"}, "need not answer 0"),
    "ada of an f-divergence": ({"game.ada": True, "game.loss": "f-kl"}, "need not answer 0"),
    "apa of differences": ({"game.apa": True, "game.loss": "relativistic-average"}, "need not answer 0"),
    "targets of margins": ({"game.targets": True, "game.loss": "hinge"}, "expected minimax"),
    "top-k of nothing": (
        {"game.top_k": True, "game.feature_matching.alone": True},
        "feature_matching.alone takes away",
    ),
    "top-k of several critics": ({"game.top_k": True, "game.critics": 2}, "need not agree"),
    "the past of several critics": ({"game.past_critics": True, "game.critics": 2}, "copies of one critic"),
    "simultaneous critic steps": ({"game.order": "simultaneous", "game.critic_steps": 2}, "at different times"),
    "simultaneous unrolling": ({"game.order": "simultaneous", "game.unrolled": 2}, "at different times"),
    "simultaneous throttle": ({"game.order": "simultaneous", "game.throttle": True}, "at different times"),
    "separate penalties of every step": (
        {"game.separate_penalties": True, "game.penalties": {"r1": 1.0}},
        "expected one interval above 1",
    ),
    "attacks on differences": (
        {"game.adversarial_examples": True, "game.loss": "relativistic-pairing"},
        "only compares logits",
    ),
    "ada of least squares": ({"game.ada": True, "game.loss": "least-squares"}, "need not answer 0"),
    "pseudo-real examples in two moves": (
        {"game.apa": True, "game.separate_penalties": True, "game.penalties": {"r1": {"weight": 1.0, "every": 4}}},
        "real examples of its own",
    ),
    "a look ahead over clipping": ({"game.unrolled": 2, "game.clip": 0.1}, "cannot be differentiated"),
    "specialists of micro-batches": (
        {"game.critics.how": "specialists", "training.accumulate": 2},
        "clusters in whole batches",
    ),
    "batch normalisation of one example": (
        {"game.network.critic_normalisation": "batch", "game.packing": 4, "training.batch": 4},
        "compares the examples of a batch",
    ),
    "several growing critics": ({"game.network.kind": "progressive", "game.critics": 2}, "grows as one"),
    "codes that do not fit": ({"game.mutual_information.num_categories": 20}, "do not fit"),
    "unrolling a rule of two gradients": (
        {"game.unrolled": 1, "players.D.rule": "extra-adam"},
        "cannot be unrolled",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_combined_is_refused_with_the_reason(name):
    settings, reason = REFUSED[name]
    asked = with_settings(Recipe(), {"game.kind": "gan", **BASE, **settings})
    run = Run(None, asked, "test", LABELLED if asked.game.needs_labels else EXAMPLES)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=reason):
        run.trainer(digits())


@pytest.mark.parametrize("name", ["diffaugment", "ada", "consistency"])
def test_changes_of_images_are_refused_for_points(name):
    with pytest.raises(RecipeError, match="instance_noise"):
        with_settings(Recipe(), {"game.network.kind": "mlp", f"game.{name}": True}).game.build(Examples("points", (2,)))


def test_a_technique_is_on_by_true_a_number_or_a_table_and_off_by_false():
    game: Any = recipe({"game.lecam": True}).game
    assert (game.lecam.weight, game.lecam.decay) == (0.3, 0.99)
    game = recipe({"game.lecam": 2.0}).game
    assert game.lecam.weight == 2.0
    game = recipe({"game.lecam.decay": 0.5}).game
    assert (game.lecam.weight, game.lecam.decay) == (0.3, 0.5)
    assert with_settings(recipe({"game.lecam": True}), {"game.lecam": False}).game.lecam is None  # type: ignore[attr-defined]
    with pytest.raises(RecipeError, match=r"game\.lecam"):
        recipe({"game.lecam": "yes"})
    with pytest.raises(RecipeError, match=r"game\.lecam\.decy.*decay"):
        recipe({"game.lecam.decy": 0.5})


def test_an_empty_toolbox_is_the_plain_game():
    """The terms, the logits and the randomness are those of the two lines of the paper."""
    torch.manual_seed(3)
    game = echo(Spy(2), loss=hinge)
    torch.manual_seed(4)
    critic, generator = moves(game)
    torch.manual_seed(4)
    x, fake = points(0, 6), game.G(torch.randn(6, 2))
    real, forged = game.D.linear(x).squeeze(1), game.D.linear(fake).squeeze(1)
    assert torch.equal(critic.terms["adversarial"], torch.relu(1 - real) + torch.relu(1 + forged))
    assert torch.equal(generator.terms["adversarial"], -forged)
    assert set(critic.terms) == set(generator.terms) == {"adversarial"}


def test_each_of_several_critics_has_a_flat_slope_of_its_own():
    """Two opposite critics have a flat sum, and yet each is steep."""
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    for form in (lambda penalty: penalty, by_difference):
        values = form(r1)(lambda x: torch.stack([3 * x[:, 0], -3 * x[:, 0]], dim=1), x, x)
        assert values.mean() == pytest.approx(9, rel=1e-3)


def test_the_pool_takes_one_critic_a_step_however_often_it_moves():
    trainer = trained({"game.past_critics": {"size": 3, "every": 2}, "game.critic_steps": 3}, steps=5)
    past = trainer.game.tools.past
    assert int(past.pool.filled) == 3  # the first one, that of step 2 and that of step 4


def test_the_look_ahead_goes_along_the_penalties_too():
    """With a strong penalty the critic of the future is as flat as the present one; without, it steepens."""

    def steepness(weight: float) -> float:
        settings = {"D": Optimizer(rule="sgd", learning_rate=0.05), "G": Optimizer(rule="sgd", learning_rate=0.1)}
        torch.manual_seed(1)
        penalties = {"r1": (r1, weight)} if weight else None
        game = GAN(Echo(), Spy(2), z_dim=2, loss=wasserstein, penalties=penalties, tools=Toolbox(unrolled=8))
        trainer = Trainer(
            game, points, players=settings, plan=Plan(steps=1, batch=4, ema_half_life=0, precision="fp32")
        )
        z, fake = game.made(points(0, 4), ())
        critic = game.unrolled_critic(points(0, 4), (), z, fake.detach(), trainer.clock)
        x = torch.zeros(1, 2, requires_grad=True)
        return float(torch.autograd.grad(critic(x).logits.sum(), x)[0].norm())

    assert steepness(0.0) > 1.0
    assert steepness(2.0) < 0.5 * steepness(0.0)


@pytest.mark.parametrize("penalty", [r1, r2])
def test_the_look_ahead_is_a_plain_loop_of_the_critics_moves(penalty):
    """The slope at the fakes is that of the critic alone, though its parameters of the future depend on fakes too."""
    torch.manual_seed(0)
    rate, weight = 0.1, 0.5
    G, D = MLPGenerator(2, (2,), width=8, num_layers=2), MLPCritic((2,), width=8, num_layers=2)
    game = GAN(G, D, z_dim=2, loss=non_saturating, penalties={"penalty": (penalty, weight)}, tools=Toolbox(unrolled=3))
    settings = {"D": Optimizer(rule="sgd", learning_rate=rate), "G": Optimizer(rule="sgd", learning_rate=rate)}
    trainer = Trainer(game, points, players=settings, plan=Plan(steps=1, batch=8, ema_half_life=0, precision="fp32"))
    x, z = points(0, 8), torch.randn(8, 2)
    fake = G(z)
    future = game.unrolled_critic(x, (), z, fake, trainer.clock)
    state = {name: p.detach().clone().requires_grad_() for name, p in D.named_parameters()}
    for _ in range(3):
        loss = non_saturating.d(*(functional_call(D, state, (a,)).logits for a in (x, fake.detach()))).mean()
        at = (x if penalty is r1 else fake).detach().requires_grad_()
        slopes = torch.autograd.grad(functional_call(D, state, (at,)).logits.sum(), at, create_graph=True)[0]
        loss = loss + weight * slopes.square().sum(1).mean()
        gradients = torch.autograd.grad(loss, list(state.values()))
        moved = zip(state.items(), gradients, strict=True)
        state = {name: (p - rate * gradient).detach().requires_grad_() for (name, p), gradient in moved}
    assert torch.allclose(future(x).logits, functional_call(D, state, (x,)).logits, atol=1e-6)


def test_the_throttle_measures_the_critic_that_plays_not_the_one_of_the_look_ahead():
    settings = {"game.throttle": True, "game.unrolled": 3, "players.D.learning_rate": 0.05}
    trainer = trained({**settings, "training.batch": 8}, steps=0)
    game, x = trainer.game, digits().examples(torch.arange(8))
    torch.manual_seed(0)
    *_, generator = list(game.step(iter([x]), replace(trainer.clock, reuse=True)))
    torch.manual_seed(0)
    fake = game.G(torch.randn(8, game.z_dim))
    present = game.tools.throttle.measured(game.D(x).logits, game.D(fake).logits)
    assert float(generator.watch["critic_accuracy"]) == float(present)
    future = game.unrolled_critic(x, (), torch.zeros(0), fake, trainer.clock)
    assert not torch.equal(future(x).logits, game.D(x).logits)


def test_packs_are_moved_example_by_example():
    torch.manual_seed(0)
    game = built({"game.packing": 2, "game.consistency": {"mirror": False}})
    term = game.terms["D/consistency_real"]
    x = digits().examples(torch.arange(8))
    packs = torch.cat([x, x], dim=1)  # both members alike
    moved = Round(packs, packs, x, None, None, None, None, 0.0, 2).each(term.moved, packs)  # type: ignore[arg-type]
    assert any(not torch.equal(a, b) for a, b in zip(moved[:, 0], moved[:, 1]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"game.top_k": 0}, "above 0"),
        ({"game.top_k": 1.5}, "from 0 to 1"),
        ({"game.instance_noise": -1}, "at least 0"),
        ({"game.ada.p": -0.5}, "from 0 to 0.8"),
        ({"game.clip": True}, "game.clip"),
        ({"game.penalties.r1": True}, "game.penalties.r1"),
        ({"game.diffaugment": 3}, "expected true, false, or a table of policy"),
        ({"game.network.kind": "progressive", "game.network.dropout": 0.2}, "has none"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        recipe(settings)


def test_a_growing_batch_is_refused_once_with_one_message():
    with pytest.raises(RecipeError) as refused:
        trained({"game.packing": 2, "training.batch": {"start": 31, "end": 64}})
    assert str(refused.value).count("needs batches that are a multiple") == 1
    assert "a micro-batch has 31 examples" in str(refused.value)


def test_orthogonality_is_of_the_generator_s_filters_and_leaves_embeddings_alone():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.layer = nn.Embedding(3, 2), nn.Linear(2, 2, bias=False)

    net = Table()
    nn.init.constant_(net.table.weight, 5.0)
    nn.init.constant_(net.layer.weight, 1.0)  # two equal filters of squared norm 2
    assert Orthogonality(net)(None).item() == pytest.approx(2 * 2**2)  # type: ignore[arg-type]
    assert set(built({"game.orthogonality": True}).terms) == {"G/orthogonality"}


def test_true_takes_the_literature_s_number_and_a_schedule_the_main_strength():
    game: Any = recipe({"game.packing": True, "game.unrolled": True}).game
    assert (game.packing, game.unrolled) == (2, 5)
    game = recipe({"game.packing": False, "game.top_k": {"start": 1.0, "end": 0.8}}).game
    assert (game.packing, game.top_k.share.end) == (1, 0.8)
