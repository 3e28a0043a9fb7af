"""Two critics against one generator, each on its own view of the data: a game of your own, in one file.

    equipoise train two_critics.py:recipe
"""

import torch
from torch.nn.functional import avg_pool2d

from equipoise import Examples, GameSettings, LatentGame, Move, Optimizer, Plan, Recipe
from equipoise.networks.mlp import MLPCritic, MLPGenerator
from equipoise.objectives import least_squares


class TwoCritics(LatentGame):
    averaged = ("G",)                     # sampled with averaged weights
    weights = {"G/coarse": 0.5}           # every other term weighs 1

    def __init__(self, examples: Examples, *, z_dim: int, width: int):
        super().__init__()
        c, h, w = examples.shape
        self.z_dim = z_dim
        self.G = MLPGenerator(z_dim, (c, h, w), width=width)
        self.fine = MLPCritic((c, h, w), width=width)
        self.coarse = MLPCritic((c, h // 2, w // 2), width=width)

    @property
    def players(self):
        return {"D": [self.fine, self.coarse], "G": [self.G]}

    def step(self, data, now):
        x = next(data)                                                  # [N, C, H, W] in [-1, 1]
        fake = self.generate(torch.randn(len(x), self.z_dim, device=x.device))
        real_logits, fake_logits = self.judge(x), self.judge(fake.detach())
        yield Move("D",
            fine=least_squares.d(real_logits, fake_logits),
            coarse=least_squares.d(self.see_coarse(x), self.see_coarse(fake.detach())),
            watch={"real": real_logits, "fake": fake_logits})           # D has been updated after this line

        logits, coarse = self.judge(fake), self.see_coarse(fake)
        yield Move("G", fine=least_squares.g(real_logits, logits), coarse=least_squares.g(real_logits, coarse))

    def see_coarse(self, x): return self.coarse(avg_pool2d(x, 2)).logits
    def generate(self, z, labels=None): return self.G(z)
    def sample(self, batch): return {"fake": self.G(torch.randn(len(batch), self.z_dim, device=batch.device))}
    def judge(self, batch): return self.fine(batch).logits


class Settings(GameSettings):             # validated; change them with --set game.width=256
    kind: str = "two-critics"
    z_dim: int = 32
    width: int = 128

    def build(self, examples): return TwoCritics(examples, z_dim=self.z_dim, width=self.width)


def recipe() -> Recipe:
    player = Optimizer(learning_rate=5e-4, betas=(0.5, 0.99))
    return Recipe(name="two-critics", game=Settings(), training=Plan(steps=1000), players={"D": player, "G": player})
