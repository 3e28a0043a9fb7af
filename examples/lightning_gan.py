"""A GAN in Lightning, with manual optimisation, and a doctor: lines marked with (+).

    pip install 'equipoise[lightning]'
    python examples/lightning_gan.py                # healthy
    python examples/lightning_gan.py --plant high-rate

Trains on the 8×8 digits that come with scikit-learn.
"""

import argparse

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from equipoise.doctor.lightning import DoctorCallback  # (+)


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 128), nn.LeakyReLU(0.2), nn.Linear(128, 128), nn.LeakyReLU(0.2), nn.Linear(128, outputs)
    )


class GAN(pl.LightningModule):
    def __init__(self, rate: float):
        super().__init__()
        self.automatic_optimization = False
        self.rate = rate
        self.generator = nn.Sequential(mlp(32, 64), nn.Tanh(), nn.Unflatten(1, (1, 8, 8)))
        self.discriminator = nn.Sequential(nn.Flatten(), mlp(64, 1))

    def configure_optimizers(self):
        return [
            torch.optim.Adam(net.parameters(), self.rate, (0.5, 0.999)) for net in (self.generator, self.discriminator)
        ]

    def training_step(self, batch: list[Tensor], index: int) -> None:
        [real] = batch
        optimizer_G, optimizer_D = self.optimizers()
        fake = self.generator(torch.randn(len(real), 32))
        optimizer_D.zero_grad()
        self.manual_backward(
            nn.functional.softplus(-self.discriminator(real)).mean()
            + nn.functional.softplus(self.discriminator(fake.detach())).mean()
        )
        optimizer_D.step()
        optimizer_G.zero_grad()
        self.manual_backward(nn.functional.softplus(-self.discriminator(fake)).mean())
        optimizer_G.step()


def train(steps: int = 1500, *, plant: str = "nothing", seed: int = 0):
    pl.seed_everything(seed)
    digits = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1
    digits = digits[torch.randperm(len(digits))]
    train, held_out = digits[:1500], digits[1500:]
    watch = DoctorCallback(held_out=held_out, train=train[:256], latents=torch.randn(256, 32), every=25)  # (+)
    trainer = pl.Trainer(
        max_epochs=-(-steps // 23),
        callbacks=[watch],  # (+)
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(TensorDataset(train), batch_size=64, shuffle=True, drop_last=True)
    trainer.fit(GAN(0.025 if plant == "high-rate" else 5e-4), loader)
    return watch.doctor


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plant", choices=["nothing", "high-rate"], default="nothing")
    parser.add_argument("--steps", type=int, default=1500)
    options = parser.parse_args()
    train(options.steps, plant=options.plant)
