"""The games of generation: every loss, penalty and conditioning keeps the promises; moves come in the papers' order."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from equipoise.core.errors import RecipeError
from equipoise.core.game import Clock, Game, LatentGame, Move, Verdict
from equipoise.core.schedule import Lazy
from equipoise.engine.conformance import check_game
from equipoise.games.gan import GAN
from equipoise.games.terms import PathLength
from equipoise.games.toolbox import Toolbox
from equipoise.networks.dcgan import DCGANCritic, DCGANGenerator
from equipoise.networks.mlp import MLPCritic, MLPGenerator
from equipoise.networks.resnet import ResNetCritic, ResNetGenerator
from equipoise.networks.stylegan2 import StyleGAN2Critic, StyleGAN2Generator
from equipoise.objectives import gradient_penalty, hinge, non_saturating, r1, r2, relativistic_pairing, wasserstein
from equipoise.runs.parts import LOSSES, Conditional, Examples, Gan
from equipoise.runs.sampling import samples

NUM_CLASSES = 3
PENALTIES: dict[str, Any] = {
    "none": {},
    "lazy r1": {"r1": (r1, Lazy(0.5, 2))},
    "r1 and r2": {"r1": (r1, 0.1), "r2": (r2, 0.1)},
    "gradient penalty": {"gradient_penalty": (gradient_penalty, 10.0)},
}
CONDITIONINGS = ["projection", "auxiliary", "concatenation"]


def images(position: int, size: int) -> Tensor:
    draw = torch.Generator().manual_seed(position)
    return torch.rand(size, 1, 8, 8, generator=draw) * 2 - 1


def labelled(position: int, size: int) -> tuple[Tensor, Tensor]:
    return images(position, size), (torch.arange(size) + position) % NUM_CLASSES


def gan(**settings: Any) -> GAN:
    networks = MLPGenerator(4, (1, 8, 8), width=8, num_layers=1), MLPCritic((1, 8, 8), width=8, num_layers=1)
    return GAN(*networks, z_dim=4, **{"loss": non_saturating, **settings})


def conditional(conditioning: Any = "projection", **settings: Any) -> GAN:
    G = MLPGenerator(4, (1, 8, 8), width=8, num_layers=1, num_classes=NUM_CLASSES)
    D = MLPCritic((1, 8, 8), width=8, num_layers=1, num_classes=NUM_CLASSES, conditioning=conditioning)
    auxiliary = 1.0 if conditioning == "auxiliary" else None
    return GAN(G, D, z_dim=4, num_classes=NUM_CLASSES, auxiliary=auxiliary, **{"loss": non_saturating, **settings})


def moves(game: Game, data: Callable[[int, int], Any], **clock: Any) -> list[Move]:
    batches = iter([data(position, 4) for position in range(0, 40, 4)])
    return list(game.step(batches, replace(Clock(total=10), **clock)))


# Promises


@pytest.mark.parametrize("penalties", PENALTIES)
@pytest.mark.parametrize("loss", LOSSES)
def test_gan_keeps_the_promises(loss: str, penalties: str):
    def game() -> GAN:
        return gan(loss=LOSSES[loss], penalties=PENALTIES[penalties], critic_steps=2)

    check_game(game, images, batch=4, steps=4, sample_range=(-1.0, 1.0))


@pytest.mark.parametrize("penalties", PENALTIES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_conditional_gan_keeps_the_promises(conditioning: str, loss: str, penalties: str):
    def game() -> GAN:
        return conditional(conditioning, loss=LOSSES[loss], penalties=PENALTIES[penalties])

    check_game(game, labelled, batch=4, steps=2, sample_range=(-1.0, 1.0))


@pytest.mark.parametrize(
    ("family", "normalisation"),
    [("dcgan", "none"), ("dcgan", "batch"), ("dcgan", "spectral"), ("resnet", "none"), ("resnet", "spectral")],
)
def test_convolutions_keep_the_promises(family: str, normalisation: Any):
    def game() -> GAN:
        if family == "dcgan":
            networks = DCGANGenerator(4, 1, 8, width=4), DCGANCritic(1, 8, width=4, normalisation=normalisation)
        else:
            networks = ResNetGenerator(4, 1, 8, width=4), ResNetCritic(1, 8, width=4, normalisation=normalisation)
        return GAN(*networks, z_dim=4, loss=hinge, penalties={"r1": (r1, Lazy(0.1, 2))})

    check_game(game, images, batch=4, steps=4, sample_range=(-1.0, 1.0))


def test_clipping_and_points_keep_the_promises():
    def game() -> GAN:
        networks = MLPGenerator(2, (2,), width=8), MLPCritic((2,), width=8)
        return GAN(*networks, z_dim=2, loss=wasserstein, critic_steps=3, clip=0.05)

    check_game(game, lambda position, size: torch.randn(size, 2, generator=torch.Generator().manual_seed(position)))


# The order of the moves


@pytest.mark.parametrize("make", [gan, conditional])
def test_the_critic_moves_so_many_times_before_the_generator(make: Callable[..., LatentGame]):
    data = images if make is gan else labelled
    assert [move.player for move in moves(make(critic_steps=3), data)] == ["D", "D", "D", "G"]
    assert [move.player for move in moves(make(), data)] == ["D", "G"]


@pytest.mark.parametrize("make", [gan, conditional])
def test_every_move_of_the_critic_sees_fresh_data(make: Callable[..., LatentGame]):
    game = make(critic_steps=2)
    seen: list[Tensor] = []
    game.D.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))  # pyright: ignore
    moves(game, images if make is gan else labelled)
    real = [x for x in seen if any(torch.equal(x, images(position, 4)) for position in (0, 4))]
    assert len(real) == 2
    assert not torch.equal(real[0], real[1])


@pytest.mark.parametrize("make", [gan, conditional])
def test_a_lazy_penalty_appears_only_when_it_is_due(make: Callable[..., LatentGame]):
    game, data = make(penalties={"r1": (r1, Lazy(0.5, 4))}), images if make is gan else labelled
    terms = [set(moves(game, data, step=step, lazy={"D/r1": 4})[0].terms) for step in range(5)]
    assert terms == [{"adversarial", "r1"}, *[{"adversarial"}] * 3, {"adversarial", "r1"}]


@pytest.mark.parametrize("make", [gan, conditional])
@pytest.mark.parametrize("loss", [non_saturating, relativistic_pairing])
def test_the_generator_asks_for_real_logits_only_where_its_loss_compares(make: Callable[..., LatentGame], loss: Any):
    game, data = make(loss=loss), images if make is gan else labelled
    asked = []
    step = game.step(iter([data(0, 4)]), Clock())
    next(step)
    game.D.register_forward_pre_hook(lambda module, inputs: asked.append(inputs[0].detach().clone()))  # pyright: ignore
    list(step)
    assert any(torch.equal(x, images(0, 4)) for x in asked) == loss.compares
    assert len(asked) == 1 + loss.compares


@pytest.mark.parametrize("make", [gan, conditional])
@pytest.mark.parametrize("reuse", [False, True])
def test_the_fakes_of_the_critic_serve_the_generator_only_where_the_clock_allows_it(
    make: Callable[..., LatentGame], reuse: bool
):
    game, data = make(critic_steps=2), images if make is gan else labelled
    made = []
    game.G.register_forward_hook(lambda module, inputs, output: made.append(output.requires_grad))  # pyright: ignore
    moves(game, data, reuse=reuse)
    assert made == ([False, True] if reuse else [False, False, True])


# Clipping


def test_weights_are_clipped_after_every_move_of_the_critic():
    game = gan(loss=wasserstein, critic_steps=2, clip=0.03)
    batches = iter([images(position, 4) for position in range(0, 40, 4)])
    for number, _ in enumerate(game.step(batches, Clock())):
        if number > 0:
            assert all(weight.abs().max() <= 0.03 for weight in game.D.parameters())
            assert any(weight.abs().max() == 0.03 for weight in game.D.parameters())
            assert any(weight.abs().max() > 0.03 for weight in game.G.parameters())
        with torch.no_grad():  # an update that goes too far
            for weight in game.D.parameters():
                weight.add_(torch.randn_like(weight))
    assert number == 2


def test_without_a_bound_nothing_is_clipped():
    game = gan()
    with torch.no_grad():
        for weight in game.D.parameters():
            weight.fill_(3.0)
    moves(game, images)
    assert all(bool((weight == 3.0).all()) for weight in game.D.parameters())


# Classes


def test_classes_change_what_is_generated_and_labels_reach_both_networks():
    game = conditional().eval()
    nn.init.normal_(game.G.embedding.weight, std=3.0)  # pyright: ignore
    z = torch.zeros(NUM_CLASSES, 4)
    x = game.generate(z, torch.arange(NUM_CLASSES))
    assert not torch.allclose(x[0], x[1])
    real, y = labelled(0, 4)
    assert not torch.equal(game.judge((real, y)), game.judge((real, y.flip(0))))
    with pytest.raises(ValueError, match=r"labels .* from 0 to 2"):
        game.generate(z)


def test_the_critic_sees_every_example_with_its_own_class():
    game, made, judged = conditional(), [], []
    game.G.register_forward_hook(lambda module, inputs, output: made.append((output.detach(), inputs[1])))
    game.D.register_forward_pre_hook(lambda module, inputs: judged.append((inputs[0].detach(), inputs[1])))
    moves(game, labelled)
    known = [labelled(0, 4), *made]
    for x, y in judged:
        assert any(torch.equal(x, other_x) and torch.equal(y, other_y) for other_x, other_y in known)
    assert len(judged) == 3


def test_the_generator_learns_the_classes_of_its_batch():
    game, labels = conditional("auxiliary"), []
    game.G.register_forward_pre_hook(lambda module, inputs: labels.append(inputs[1]))
    _, move = moves(game, labelled)
    assert torch.equal(labels[-1], labelled(0, 4)[1])
    assert set(move.terms) == {"adversarial", "classes"}


def test_an_auxiliary_classifier_learns_from_real_data_only():
    class Known(nn.Module):
        """Knows the class of every real image and none of the fakes."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor, y: Tensor) -> Verdict:
            is_real = any(torch.equal(x, images(position, 4)) for position in range(0, 40, 4))
            scores = nn.functional.one_hot(y, NUM_CLASSES) * (50.0 if is_real else -50.0)
            return Verdict(x.flatten(1).sum(1) * self.weight, classes=scores * self.weight)

    game = conditional("auxiliary")
    game.D = Known()
    d, g = moves(game, labelled)
    assert d.terms["classes"].tolist() == pytest.approx([0.0] * 4, abs=1e-6)
    assert g.terms["classes"].min() > 40


def test_what_a_penalty_is_given_is_the_critic_of_the_same_classes():
    seen = []

    def spy(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
        seen.append(torch.equal(critic(real), game.D(real, labelled(0, 4)[1]).logits))
        return critic(fake)

    game = conditional(penalties={"spy": (spy, 1.0)})
    moves(game, labelled)
    assert seen == [True]


# Generators with styles


def styled(num_classes: int = 0, **tools: Any) -> GAN:
    G = StyleGAN2Generator(4, 1, 8, width=4, max_width=4, w_dim=4, mapping_layers=2, decay=0.5, num_classes=num_classes)
    conditioning: Any = "projection" if num_classes else "none"
    D = StyleGAN2Critic(1, 8, width=4, max_width=4, group=2, num_classes=num_classes, conditioning=conditioning)
    return GAN(
        G,
        D,
        z_dim=4,
        num_classes=num_classes,
        loss=non_saturating,
        penalties={"r1": (r1, Lazy(0.5, 2))},
        tools=Toolbox(styled=G, terms={"G/path_length": (PathLength(), Lazy(2.0, 2))}, **tools),
    )


@pytest.mark.parametrize("num_classes", [0, NUM_CLASSES])
def test_generators_with_styles_keep_the_promises(num_classes: int):
    data = labelled if num_classes else images
    check_game(lambda: styled(num_classes), data, batch=4, steps=4, sample_range=(-1.0, 1.0))


def test_the_mean_of_styles_moves_with_the_generator():
    game = styled()
    _, move = moves(game, images)
    assert set(move.remember) == {"G.mean", "states.G_path_length.mean"}
    assert move.remember["G.mean"].abs().sum() > 0
    assert game.G.mean.abs().sum() == 0  # the trainer writes it


def test_path_length_is_measured_in_styles():
    game = styled()
    traced, seen = game.G.traced, []

    def watched(z: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(traced(z))
        return seen[-1]

    game.G.traced = watched
    _, move = moves(game, images)
    styles, x = seen[0]
    assert styles.shape == (4, game.G.num_styles, 4)
    assert x.shape == (4, 1, 8, 8)
    assert move.terms["path_length"].shape == (4,)


def test_truncation_is_that_of_the_generator_s_styles():
    game = styled().eval()
    z, truncating = torch.randn(3, 4), game.truncating(0.5)
    assert truncating is not None
    assert torch.equal(truncating(z, None), game.G(z, truncation=0.5))
    assert gan().truncating(0.5) is None
    near = samples(game, 64, seed=0, truncation=0.1)
    far = samples(game, 64, seed=0)
    assert near.std(0).mean() < 0.5 * far.std(0).mean()


# The families of networks, as recipes build them

FAMILIES: dict[str, Any] = {
    "stylegan2": {"width": 4, "max_width": 4, "w_dim": 4, "mapping_layers": 2, "group": 2},
    "r3gan": {"width": 4, "max_width": 4, "num_blocks": 1},
    "fastgan": {"width": 4, "max_width": 4},
    "resnet": {"width": 4, "attention": 8},
}
TECHNIQUES: dict[str, dict[str, Any]] = {
    "stylegan2": {"path_length": True, "penalties": {"r1": {"weight": 0.1, "every": 2}}},
    "r3gan": {"loss": "relativistic-pairing", "penalties": {"r1": 0.1, "r2": 0.1}},
    "fastgan": {"loss": "hinge", "reconstruction": True, "diffaugment": True},
    "resnet": {"loss": "hinge"},
}


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_newer_families_keep_the_promises(family: str, labels: bool):
    kind = Conditional if labels else Gan
    network = {"kind": family, **FAMILIES[family]}
    settings = kind.model_validate({"network": network, "z_dim": 4, **TECHNIQUES[family]})
    examples = Examples("images", (1, 8, 8), ("a", "b", "c") if labels else ())
    data = labelled if labels else images
    check_game(lambda: settings.build(examples), data, batch=4, steps=4, sample_range=(-1.0, 1.0))


@pytest.mark.parametrize("family", ["stylegan2", "r3gan"])
@pytest.mark.parametrize(
    ("key", "value"), [("dropout", 0.5), ("critic_normalisation", "spectral"), ("initialisation", "orthogonal")]
)
def test_what_a_family_does_not_have_is_refused(family: str, key: str, value: Any):
    with pytest.raises(ValueError, match=f"{key} = .*the {family} networks have their own weights"):
        Gan.model_validate({"network": {"kind": family, key: value}})


class Brighter:
    """An augmentation without randomness."""

    def __call__(self, x: Tensor, progress: float) -> Tensor:
        return x + 0.25

    def news(self, real_logits: Tensor, num_examples: int) -> list[tuple[Tensor, Tensor]]:
        return []


def test_the_critic_rebuilds_the_image_as_it_sees_it():
    settings = Gan.model_validate({"network": {"kind": "fastgan", **FAMILIES["fastgan"]}, "reconstruction": True})
    game: Any = settings.build(Examples("images", (1, 8, 8)))
    game.tools = replace(game.tools, augmentations=[Brighter()])
    game.states["D_reconstruction"].decoder = nn.Identity()  # "rebuilds" the last features
    x, seen = images(0, 4), []
    D = game.D

    def told(module: nn.Module, inputs: Any, output: Verdict) -> Verdict:
        seen.append(inputs[0])
        return output._replace(features=(inputs[0], inputs[0] * 0))  # as if the features held nothing

    D.register_forward_hook(told)
    move = next(game.step(iter([x]), Clock()))
    torch.testing.assert_close(seen[0], x + 0.25)
    torch.testing.assert_close(move.terms["reconstruction"], (x + 0.25).abs().mean((1, 2, 3)))


def test_only_a_critic_that_shows_its_image_can_be_made_to_rebuild_it():
    settings = Gan.model_validate({"reconstruction": True})
    with pytest.raises(RecipeError, match=r"game\.reconstruction .* Use network\.kind = fastgan"):
        settings.build(Examples("images", (1, 8, 8)))
