"""WGAN with gradient penalty in plain PyTorch, with a doctor: lines marked with (+).

    python examples/wgan_gp_loop.py                 # healthy
    python examples/wgan_gp_loop.py --plant no-penalty

Eight Gaussians on a circle (Gulrajani et al. 2017, Algorithm 1).
"""

import argparse

import torch
from torch import Tensor, nn

from equipoise import Doctor  # (+)


def eight_gaussians(num: int) -> Tensor:
    angle = 2 * torch.pi * torch.randint(8, (num,)) / 8
    return torch.stack([angle.cos(), angle.sin()], dim=1) + 0.02 * torch.randn(num, 2)


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    hidden = [nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(128, outputs))


def penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    between = torch.lerp(real, fake, torch.rand(len(real), 1)).requires_grad_()
    [slope] = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.norm(dim=1) - 1).square().mean()


def train(steps: int = 1000, *, plant: str = "nothing", seed: int = 0) -> Doctor:
    torch.manual_seed(seed)
    G, D = mlp(2, 2), mlp(2, 1)
    optimizer_G, optimizer_D = (torch.optim.Adam(net.parameters(), 1e-3, (0.5, 0.9)) for net in (G, D))
    weight = 0.0 if plant == "no-penalty" else 0.1
    doctor = Doctor(held_out=eight_gaussians(256), latents=torch.randn(256, 2), every=25)  # (+)

    for step in range(steps):
        for _ in range(5):
            real, fake = eight_gaussians(64), G(torch.randn(64, 2)).detach()
            optimizer_D.zero_grad()
            real_logits, fake_logits = D(real)[:, 0], D(fake)[:, 0]
            (fake_logits.mean() - real_logits.mean() + weight * penalty(D, real, fake)).backward()
            optimizer_D.step()
        optimizer_G.zero_grad()
        (-D(G(torch.randn(64, 2))).mean()).backward()
        optimizer_G.step()
        doctor.observe(step, real_logits=real_logits, fake_logits=fake_logits, fake=fake, G=G, D=D)  # (+)
    print(doctor)  # (+)
    return doctor


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plant", choices=["nothing", "no-penalty"], default="nothing")
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    train(options.steps, plant=options.plant)
