"""Newer generators for images of your own: StyleGAN2-, R3GAN- and FastGAN-class pairs."""

from equipoise.core.schedule import Lazy, Schedule
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.recipes.images import images
from equipoise.runs.generating import Fastgan, R3gan, Stylegan2
from equipoise.runs.parts import Gan
from equipoise.runs.recipe import Recipe
from equipoise.runs.techniques import Ada, DiffAugmentSettings, PathLength, Reconstruction


def stylegan2() -> Recipe:
    """StyleGAN2-class pair for 32 pixels on a CPU: `equipoise train stylegan2 --data FOLDER`. Not measured yet.

    Non-saturating loss, R1 every 16 steps, no path lengths, as the authors' settings for CIFAR-10; a sixteenth of
    their channels (64 at 32 pixels, at most 256), mapping of 2 layers. γ = 0.0002 · 32² / 32.
    """
    player = Optimizer(learning_rate=0.0025, betas=(0.0, 0.99))
    network = Stylegan2(width=64, max_width=256, w_dim=128, mapping_layers=2, mixing=0.0)
    return Recipe(
        name="stylegan2",
        game=Gan(network=network, z_dim=128, loss="non-saturating", penalties={"r1": Lazy(0.0032, 16)}),
        data=images().data,
        training=Plan(steps=20_000, batch=32, ema_half_life=20_000, save_every=500),
        players={"D": player, "G": player},
    )


def stylegan2_64() -> Recipe:
    """StyleGAN2-class pair for 64 pixels on a GPU: `equipoise train stylegan2-64 --data FOLDER`. Unproven.

    The authors' rule for settings (ADA's "auto"): batch 32, γ = 0.0002 · 64² / 32, averages with a half-life of 10,000
    images, path lengths every 4 steps, mixing, adaptive augmentation. Nobody has trained it to the end.
    """
    base = stylegan2()
    game = Gan(
        network=Stylegan2(width=256, max_width=512, w_dim=512, mapping_layers=2, mixing=0.9),
        z_dim=512,
        loss="non-saturating",
        penalties={"r1": Lazy(0.0128, 16)},
        path_length=PathLength(),
        ada=Ada(),
    )
    training = Plan(steps=200_000, batch=32, ema_half_life=10_000, save_every=1000)
    return base.model_copy(update={"name": "stylegan2-64", "game": game, "training": training})


def stylegan2_256() -> Recipe:
    """StyleGAN2-class pair for 256 pixels on a GPU: `equipoise train stylegan2-256 --data FOLDER`. Unproven.

    As `stylegan2-64` by the same rule: 64 channels at 256 pixels, batch 16, γ = 0.0002 · 256² / 16. Nobody has trained
    it to the end.
    """
    base = stylegan2_64()
    network = Stylegan2(width=64, max_width=512, w_dim=512, mapping_layers=2, mixing=0.9)
    game = base.game.model_copy(update={"network": network, "penalties": {"r1": Lazy(0.4096, 16)}})
    training = Plan(steps=500_000, batch=16, ema_half_life=5000, save_every=1000)
    return base.model_copy(update={"name": "stylegan2-256", "game": game, "training": training})


def r3gan() -> Recipe:
    """R3GAN-class pair for 32 pixels on a CPU: `equipoise train r3gan --data FOLDER`. Not measured yet.

    Relativistic pairing loss with R1 and R2 and the authors' schedules for CIFAR-10: rates from 2e-4 to 5e-5, γ from
    0.05 to 0.005, by a cosine, here over the whole training; their β₂ rises from 0.9 to 0.99, here it is 0.99.
    """
    return paired(
        "r3gan",
        R3gan(width=32, max_width=128),
        z_dim=64,
        gamma=(0.05, 0.005),
        training=Plan(steps=20_000, batch=32, ema_half_life=20_000, save_every=500),
    )


def r3gan_64() -> Recipe:
    """R3GAN-class pair for 64 pixels on a GPU: `equipoise train r3gan-64 --data FOLDER`. Unproven.

    The authors' γ for faces of 64 pixels, from 2 to 0.2, and augmentation with a probability that rises to 0.3. Nobody
    has trained it to the end.
    """
    return paired(
        "r3gan-64",
        R3gan(width=256, max_width=512),
        z_dim=64,
        gamma=(2.0, 0.2),
        training=Plan(steps=200_000, batch=256, ema_half_life=500_000, save_every=1000),
        augment=0.3,
    )


def r3gan_256() -> Recipe:
    """R3GAN-class pair for 256 pixels on a GPU: `equipoise train r3gan-256 --data FOLDER`. Unproven.

    The authors' γ for faces of 256 pixels, from 150 to 15, and augmentation with a probability that rises to 0.3.
    Nobody has trained it to the end.
    """
    return paired(
        "r3gan-256",
        R3gan(width=64, max_width=512),
        z_dim=64,
        gamma=(150.0, 15.0),
        training=Plan(steps=200_000, batch=256, accumulate=4, ema_half_life=500_000, save_every=1000),
        augment=0.3,
    )


def fastgan() -> Recipe:
    """FastGAN-class pair for a few hundred images: `equipoise train fastgan --data FOLDER`. Not measured yet.

    Hinge loss, DiffAugment, a critic that must rebuild what it sees; batch 8 and Adam (0.5, 0.999) at 2e-4, as the
    authors'.
    """
    player = Optimizer(learning_rate=2e-4, betas=(0.5, 0.999))
    return Recipe(
        name="fastgan",
        game=Gan(
            network=Fastgan(width=32, max_width=256),
            z_dim=128,
            loss="hinge",
            diffaugment=DiffAugmentSettings(),
            reconstruction=Reconstruction(),
        ),
        data=images().data,
        training=Plan(steps=20_000, batch=8, ema_half_life=5000, save_every=500),
        players={"D": player, "G": player},
    )


def paired(
    name: str,
    network: R3gan,
    *,
    z_dim: int,
    gamma: tuple[float, float],
    training: Plan,
    augment: float = 0.0,
) -> Recipe:
    """A recipe with the schedules of R3GAN: γ/2 is the weight of a penalty, `augment` the last probability of ADA."""
    weight = Schedule(start=gamma[0] / 2, end=gamma[1] / 2, shape="cosine")
    player = Optimizer(learning_rate=Schedule(start=2e-4, end=5e-5, shape="cosine"), betas=(0.0, 0.99))
    return Recipe(
        name=name,
        game=Gan(
            network=network,
            z_dim=z_dim,
            loss="relativistic-pairing",
            penalties={"r1": weight, "r2": weight},
            ada=Ada(p=Schedule(start=0.0, end=augment)) if augment else None,
        ),
        data=images().data,
        training=training,
        players={"D": player, "G": player},
    )
