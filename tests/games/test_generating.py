"""CoGAN, LAPGAN, VAE/GAN and adversarial autoencoders: whose loss is which, and the engine's promises."""

from functools import partial

import pytest
import torch
from torch.nn.functional import softplus

from equipoise import objectives
from equipoise.core.game import Clock
from equipoise.core.schedule import Lazy
from equipoise.data.unpaired import Couple
from equipoise.engine.conformance import check_game
from equipoise.engine.trainer import Plan, Trainer
from equipoise.games.aae import AAE
from equipoise.games.cogan import CoGAN
from equipoise.games.lapgan import LAPGAN
from equipoise.games.vaegan import VAEGAN, Weights
from equipoise.networks.coupled import CoupledCritic, CoupledGenerator
from equipoise.networks.dcgan import DCGANCritic, DCGANGenerator
from equipoise.networks.encoder import ConvolutionalEncoder, DenseEncoder
from equipoise.networks.mlp import MLPCritic, MLPGenerator
from equipoise.networks.pyramid import BandGenerator, doubled, halved
from equipoise.objectives.latents import divergence_from_prior, feature_likelihood

LOSS = objectives.non_saturating
R1 = {"r1": (objectives.r1, Lazy(0.1, 2))}


def noise(*shape, seed):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def images(position, size):
    return noise(size, 1, 16, 16, seed=position)


def domains(position, size):
    return Couple(noise(size, 1, 16, 16, seed=2 * position), noise(size, 1, 16, 16, seed=2 * position + 1))


def cogan(*, loss=LOSS, penalties=None):
    return CoGAN(
        CoupledGenerator(4, 1, 16, width=4), CoupledCritic(1, 16, width=4), z_dim=4, loss=loss, penalties=penalties
    )


def lapgan(*, loss=LOSS, penalties=None):
    generators = BandGenerator(1, width=4, num_layers=1), DCGANGenerator(4, 1, 8, width=4)
    critics = [DCGANCritic(1, size, width=4) for size in (16, 8)]
    return LAPGAN(generators, critics, z_dim=4, size=16, loss=loss, penalties=penalties)


def vaegan(*, loss=LOSS, penalties=None):
    networks = ConvolutionalEncoder(1, 16, 8, width=4), DCGANGenerator(4, 1, 16, width=4), DCGANCritic(1, 16, width=4)
    return VAEGAN(networks, z_dim=4, loss=loss, weights=Weights(), penalties=penalties)


def aae(*, loss=LOSS):
    shape = (1, 16, 16)
    networks = DenseEncoder(shape, 4, width=8), MLPGenerator(4, shape, width=8), MLPCritic((4,), width=8)
    return AAE(networks, z_dim=4, loss=loss)


GAMES = {
    "cogan": (cogan, domains),
    "cogan, relativistic, lazy penalty": (
        partial(cogan, loss=objectives.relativistic_pairing, penalties=R1),
        domains,
    ),
    "lapgan": (lapgan, images),
    "lapgan, relativistic, lazy penalty": (
        partial(lapgan, loss=objectives.relativistic_pairing, penalties=R1),
        images,
    ),
    "vaegan": (vaegan, images),
    "vaegan, relativistic, lazy penalty": (
        partial(vaegan, loss=objectives.relativistic_pairing, penalties=R1),
        images,
    ),
    "aae": (aae, images),
    "aae, relativistic": (partial(aae, loss=objectives.relativistic_average), images),
}


@pytest.mark.parametrize("name", GAMES)
def test_a_game_keeps_the_promises_of_the_engine(name):
    game, data = GAMES[name]
    check_game(game, data, sample_range=(-1.0, 1.0))


@pytest.mark.parametrize("name", GAMES)
def test_a_game_plays_in_narrow_formats_too(name):
    game, data = GAMES[name]
    trainer = Trainer(game(), data, players={}, plan=Plan(steps=3, batch=4, precision="bf16"))
    trainer.fit()
    assert all(torch.isfinite(p).all() for p in trainer.game.parameters())


@pytest.mark.parametrize("name", GAMES)
def test_examples_and_batches_of_them_are_judged_alike(name):
    game, data = GAMES[name][0]().eval(), GAMES[name][1]
    batch = data(0, 3)
    x = batch[1] if isinstance(batch, tuple) else batch
    assert torch.equal(game.judge(batch), game.judge(x))
    assert game.described(batch).ndim == 2
    assert game.generate(torch.randn(3, game.z_dim)).shape == x.shape


# ---------------------------------------------------------------- CoGAN


def test_each_domain_of_cogan_plays_its_own_gan_with_one_latent():
    game = cogan().eval()
    x = domains(0, 3)
    torch.manual_seed(0)
    critic, generator = game.step(iter([x]), Clock(reuse=True))
    torch.manual_seed(0)
    fake = game.G(torch.randn(3, 4))
    for k, name in enumerate("ab"):
        real, forged = game.D(x[k], k).logits, game.D(fake[k], k).logits
        assert torch.allclose(critic.terms[name], softplus(-real) + softplus(forged))
        assert torch.allclose(generator.terms[name], softplus(-forged))


def test_one_latent_becomes_an_image_of_each_domain():
    game = cogan().eval()
    z = torch.randn(2, 4)
    a, b = game.together(z)
    assert torch.equal(game.generate(z), b)
    assert torch.equal(game.G(z).a, a)


def test_lazy_penalties_of_both_domains_come_when_they_are_due():
    game = cogan(penalties=R1)
    due, _ = game.step(iter([domains(0, 2)]), Clock(step=2, lazy={"D/r1_a": 2, "D/r1_b": 2}))
    not_due, _ = game.step(iter([domains(0, 2)]), Clock(step=1, lazy={"D/r1_a": 2, "D/r1_b": 2}))
    assert set(due.terms) == {"a", "b", "r1_a", "r1_b"}
    assert set(not_due.terms) == {"a", "b"}


# ---------------------------------------------------------------- LAPGAN


def test_each_level_of_lapgan_paints_the_band_that_real_images_lack():
    game = lapgan().eval()
    x = images(0, 3)
    torch.manual_seed(0)
    critic, generator = game.step(iter([x]), Clock(reuse=True))
    torch.manual_seed(0)
    z = torch.randn(3, game.z_dim)
    assert game.z_dim == 4 + 16 * 16
    coarse, smooth = halved(x), doubled(halved(x))
    fakes = smooth + game.G[0](z[:, 4:].view(3, 1, 16, 16), smooth), game.G[1](z[:, :4])
    for k, (real, fake) in enumerate(zip((x, coarse), fakes)):
        r, f = game.D[k](real).logits, game.D[k](fake).logits
        assert torch.allclose(critic.terms[f"level_{k}"], softplus(-r) + softplus(f), atol=1e-5)
        assert torch.allclose(generator.terms[f"level_{k}"], softplus(-f), atol=1e-5)


def test_sampling_begins_at_the_coarsest_level():
    game = lapgan().eval()
    z = torch.randn(2, game.z_dim)
    smooth = doubled(game.G[1](z[:, :4]))
    expected = (smooth + game.G[0](z[:, 4:].view(2, 1, 16, 16), smooth)).clamp(-1, 1)
    assert torch.allclose(game.generate(z), expected)


def test_levels_are_independent():
    game = lapgan()
    _, move = game.step(iter([images(0, 3)]), Clock())
    move.terms["level_1"].sum().backward()
    assert all(p.grad is None for p in game.G[0].parameters())


# ---------------------------------------------------------------- VAE/GAN


def test_the_three_players_of_vaegan_move_at_once_by_the_losses_of_the_paper():
    game = vaegan().eval()
    x = images(0, 3)
    torch.manual_seed(0)
    (moves,) = game.step(iter([x]), Clock())
    torch.manual_seed(0)
    mean, log_variance = game.E(x).chunk(2, dim=1)
    z = mean + log_variance.exp().sqrt() * torch.randn_like(mean)
    x_hat, x_p = game.G(z), game.G(torch.randn_like(z))
    real, copied, drawn = game.D(x), game.D(x_hat), game.D(x_p)
    likeness = feature_likelihood(real.features[-1], copied.features[-1])
    by_player = {move.player: move.terms for move in moves}
    assert torch.allclose(by_player["E"]["prior"], divergence_from_prior(mean, log_variance))
    assert torch.allclose(by_player["E"]["likeness"], likeness)
    assert torch.allclose(by_player["G"]["likeness"], likeness)
    fooled = softplus(-copied.logits) + softplus(-drawn.logits)
    assert torch.allclose(by_player["G"]["adversarial"], fooled)
    told = 2 * softplus(-real.logits) + softplus(copied.logits) + softplus(drawn.logits)
    assert torch.allclose(by_player["D"]["adversarial"], told)
    assert game.weights == {"E/prior": 1.0, "G/likeness": 1e-3}


# ---------------------------------------------------------------- adversarial autoencoders


def test_an_adversarial_autoencoder_reconstructs_first_and_then_regularises():
    game = aae().eval()
    x = images(0, 3)
    torch.manual_seed(0)
    together, critic, encoder = game.step(iter([x]), Clock())
    torch.manual_seed(0)
    z = torch.randn(3, 4)
    error = (x - game.G(game.E(x))).square().flatten(1).mean(1)
    assert [move.player for move in together] == ["E", "G"]
    assert all(torch.allclose(move.terms["reconstruction"], error) for move in together)
    real, fake = game.D(z).logits, game.D(game.E(x)).logits
    assert torch.allclose(critic.terms["adversarial"], softplus(-real) + softplus(fake))
    assert (encoder.player, dict(game.weights)) == ("E", {"E/adversarial": 0.1})
    assert torch.allclose(encoder.terms["adversarial"], softplus(-fake))


@pytest.mark.parametrize("game", [vaegan, aae])
def test_autoencoders_reconstruct_without_randomness(game):
    game = game().eval()
    x = images(0, 3)
    assert torch.equal(game.reconstruct(x), game.reconstruct(x))
    assert torch.equal(game.reconstruct(x), game.G(game.encode(x)))
    assert game.encode(x).shape == (3, 4)
    assert torch.equal(game.sample(x)["copy"], game.reconstruct(x))
