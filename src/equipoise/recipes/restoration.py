"""Pictures restored: super-resolution, inpainting, denoising and low-dose CT, of pictures of your own."""

from dataclasses import replace

from equipoise.core.schedule import Schedule, Shape
from equipoise.data.degradations import Downscale, LowDose, Noise
from equipoise.data.masks import Boxes, Irregular
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.runs.parts import GameSettings
from equipoise.runs.recipe import Judging, Recipe
from equipoise.runs.restoring import (
    DenoisingSettings,
    Dncnn,
    Gated,
    InpaintingSettings,
    Patches,
    PicturesData,
    Srgan,
    Srresnet,
    Unet,
)

CT_RANGE = (-500.0, 2500.0)
"""HU that are told apart: further down than the values of a volume that ends at 0, or noise there would be cut off and
what is given would be shifted."""


def sr4() -> Recipe:
    """Super-resolution, four times larger, first for PSNR, then for the eye: `equipoise train sr4 --data FOLDER`."""
    network = Srresnet(width=48, num_blocks=8, staged=False)
    game = Srgan(
        network=network,
        critic=Patches(width=48, num_layers=2, normalisation="none"),
        warmup=0.77,
        terms={"l1": 0.1},
        perceptual=1.0,
        adversarial=0.1,
    )
    data = PicturesData(crop=64, small="mirror", held_out=8, degrade=(Downscale(factor=4),))
    # Evenly, so that the stage with a critic begins at a quarter of the rate: a cosine would leave too little for it.
    return restoring("sr4", game, data, steps=10_400, rate=4e-4, shape="linear")


def inpainting() -> Recipe:
    """Holes filled, of any shape, by gated convolutions: `equipoise train inpainting --data FOLDER`."""
    game = InpaintingSettings(
        network=Gated(width=24),
        critic=Patches(width=32, num_layers=2, normalisation="none"),
        loss="non-saturating",
        warmup=0.75,
        perceptual=0.5,
        adversarial=0.05,
        known=0.0,  # known pixels stay anyway
        prefill=5,
    )
    data = PicturesData(crop=64, held_out=16, masks=(Irregular(share=0.6), Boxes(share=0.4)))
    return restoring("inpainting", game, data, steps=3000, rate=5e-4)


def denoising() -> Recipe:
    """Noise of 25 levels taken away, first for PSNR, then for the eye: `equipoise train denoising --data FOLDER`."""
    game = DenoisingSettings(
        network=Dncnn(width=48, depth=12),
        critic=Patches(width=48, num_layers=2, normalisation="none"),
        warmup=0.7,
        perceptual=0.5,
        adversarial=0.05,
    )
    data = PicturesData(crop=48, held_out=8, degrade=(Noise(sigma=(25.0, 25.0)),))
    return restoring("denoising", game, data, steps=4000, rate=1e-3)


def ct() -> Recipe:
    """Low-dose CT, for exact values alone: `equipoise train ct --data SLICES.npy`, with values in HU.

    Squares are whole slices, because noise is that of the rays through all of a slice: set `data.crop` to their side.
    """
    # The mean error of the square's best answer is 0; that of the absolute error's is not, where values are skewed.
    game = DenoisingSettings(network=Unet(width=32, depth=3), critic=Patches(width=32), warmup=1.0, first="l2")
    low, high = CT_RANGE
    dose = LowDose(low=low, high=high, photons=(4e4, 4e4), views=120, field_of_view=200)
    data = PicturesData(
        crop=128, range=CT_RANGE, window=(-100, 400), held_out=40, held_out_at="end", gap=8, degrade=(dose,)
    )
    recipe = restoring("ct", game, data, steps=1000, rate=1e-3)
    return recipe.model_copy(update={"training": replace(recipe.training, batch=8)})


def restoring(
    name: str, game: GameSettings, data: PicturesData, *, steps: int, rate: float, shape: Shape = "cosine"
) -> Recipe:
    """What they have in common: batches of 16, and a fall from the rate to a hundredth of it, by a cosine."""
    falling = Schedule(start=rate, end=rate / 100, shape=shape, warmup=0.01)
    return Recipe(
        name=name,
        game=game,
        data=data,
        training=Plan(steps=steps, batch=16, ema_half_life=10_000, save_every=500),
        players={
            "G": Optimizer(learning_rate=falling, betas=(0.9, 0.99)),
            "D": Optimizer(learning_rate=2e-4, betas=(0.5, 0.99)),
        },
        judging=Judging(metric="psnr"),
    )
