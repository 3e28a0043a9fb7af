"""A classic DCGAN training in plain PyTorch, as in countless tutorials, with a doctor: lines marked with (+).

    python examples/dcgan_loop.py                   # healthy
    python examples/dcgan_loop.py --plant slow-critic

Trains on the 8×8 digits that come with scikit-learn.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn

from equipoise import Doctor  # (+)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(32, 64, 4, 1, 0, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 1, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, z):
        return self.main(z[:, :, None, None])


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(1, 32, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(32, 64, 4, 1, 0), nn.LeakyReLU(0.2), nn.Flatten()
        )
        self.head = nn.Linear(64, 1)

    def forward(self, x):
        return self.head(self.main(x))[:, 0]


def train(steps: int = 1500, *, plant: str = "nothing", seed: int = 0) -> Doctor:
    torch.manual_seed(seed)
    digits = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1
    digits = digits[torch.randperm(len(digits))]
    train, held_out = digits[:1500], digits[1500:]
    G, D = Generator(), Discriminator()
    optimizer_G = torch.optim.Adam(G.parameters(), 2e-4, (0.5, 0.999))
    optimizer_D = torch.optim.Adam(D.parameters(), 1e-6 if plant == "slow-critic" else 2e-4, (0.5, 0.999))
    loss = nn.BCEWithLogitsLoss()
    doctor = Doctor(held_out=held_out, train=train[:256], latents=torch.randn(256, 32), every=50)  # (+)

    for step in range(steps):
        real = train[torch.randint(len(train), (64,))]
        fake = G(torch.randn(64, 32))
        optimizer_D.zero_grad()
        real_logits, fake_logits = D(real), D(fake.detach())
        (loss(real_logits, torch.ones(64)) + loss(fake_logits, torch.zeros(64))).backward()
        optimizer_D.step()
        optimizer_G.zero_grad()
        loss(D(fake), torch.ones(64)).backward()
        optimizer_G.step()
        doctor.observe(step, real_logits=real_logits, fake_logits=fake_logits, fake=fake, G=G, D=D)  # (+)
    print(doctor)  # (+)
    return doctor


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plant", choices=["nothing", "slow-critic"], default="nothing")
    parser.add_argument("--steps", type=int, default=1500)
    options = parser.parse_args()
    train(options.steps, plant=options.plant)
