"""Techniques that are one more loss term: what each player minimises beside its adversarial loss, by paper."""

import inspect
from typing import Literal, cast, final

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from equipoise import objectives
from equipoise.data.augment import diffaugment, jittered
from equipoise.games.round import Round, Term
from equipoise.networks.fastgan import Decoder
from equipoise.networks.information import CodeReader, Statistics

# ---------------------------------------------------------------- of the critic


def sloped(penalty: objectives.Penalty) -> Term:
    """A penalty on the critic's slope, as a term; it takes slopes from the round where it can."""
    if "slope" in inspect.signature(penalty).parameters:
        penalty_of = cast(objectives.GradientPenalty, penalty)
        return lambda round: penalty_of(round.logits, round.x, round.fake, slope=round.slope)
    return lambda round: penalty(round.logits, round.x, round.fake)


@final
class Consistency(nn.Module):
    """Consistency regularisation (CR, bCR): the critic's answer should not change when an example is moved a little.

    λ_real |D(x) - D(T(x))|² + λ_fake |D(G(z)) - D(T(G(z)))|², T a random shift of up to 1/8 and a random mirroring.
    Without the second part it is CR, with it bCR. Unlike with augmentation, D's verdict on unchanged images trains G.
    Default: λ_real = λ_fake = 10 (bCR); λ_fake = 0 is CR.
    Cost: one more pass of D for each part that is on.
    Source: Zhang et al. 2020, Consistency Regularization for GANs; Zhao et al. 2021 (bCR).
    """

    def __init__(self, side: Literal["real", "fake"], *, mirror: bool = True):
        super().__init__()
        self.side, self.mirror = side, mirror

    def forward(self, round: Round) -> Tensor:
        x, verdict = (round.x, round.real_verdict) if self.side == "real" else (round.fake, round.forged)
        return objectives.consistency(verdict.logits, round.logits(round.each(self.moved, x)))

    def moved(self, x: Tensor) -> Tensor:
        """Images shifted by up to 1/8 and, half of them, mirrored."""
        return jittered(x) if self.mirror else diffaugment(x, ("translation",))


@final
class LatentConsistency(nn.Module):
    """Latent consistency (zCR): D should not mind a small change of the latent, G should show it.

    D: λ_D |D(G(z)) - D(G(z + δ))|²; G: -λ_G |G(z) - G(z + δ)|² / size of G(z); δ ~ N(0, σ²I).
    Default: σ = 0.03, λ_D = 5, λ_G = 0.5.
    Cost: one more pass of G and of D in D's move, one of G in G's move.
    Source: Zhao et al. 2021, Improved Consistency Regularization for GANs, Alg. 2.
    """

    def __init__(self, std: float = 0.03, *, of_generator: bool):
        super().__init__()
        self.std, self.of_generator = std, of_generator

    def forward(self, round: Round) -> Tensor:
        moved = round.z + self.std * torch.randn_like(round.z)
        if self.of_generator:
            return objectives.latent_consistency(round.fake, round.generator(moved))
        with torch.no_grad():
            fake = round.generator(moved)
        return objectives.consistency(round.forged.logits, round.logits(fake))


@final
class LeCam(nn.Module):
    """LeCam regularisation: real logits are held near the running mean of fake logits, and the other way round.

    (max(0, D(x) - a_F)² + max(0, a_R - D(G(z)))²) / s², where a_R, a_F and s² are running means of the logits and of
    their square. Dividing by s² makes one weight fit every network: published ones range from 3e-7 to 0.3.
    Default: weight 0.3, decay 0.99.
    Cost: nothing to speak of.
    Source: Tseng et al. 2021, Regularizing GANs under Limited Data, Eq. 4; the division is ours.
    """

    real: Tensor
    fake: Tensor
    square: Tensor

    def __init__(self, decay: float = 0.99):
        super().__init__()
        self.decay = decay
        for name in ("real", "fake"):
            self.register_buffer(name, torch.tensor(0.0))
        self.register_buffer("square", torch.tensor(1.0))

    def forward(self, round: Round) -> Tensor:
        real, fake = round.real_logits.float(), round.forged.logits.float()
        square = (real.detach().square().mean() + fake.detach().square().mean()) / 2
        round.remember(self.real, torch.lerp(real.detach().mean(), self.real, self.decay))
        round.remember(self.fake, torch.lerp(fake.detach().mean(), self.fake, self.decay))
        round.remember(self.square, torch.lerp(square, self.square, self.decay))
        return objectives.lecam(real, fake, self.real, self.fake, self.square.clamp_min(1e-8).sqrt())


@final
class AdversarialExamples(nn.Module):
    """Adversarial regularisation: the critic also scores fakes that were changed so as to fool it.

    -log(1 - σ(D(x_adv))), x_adv = G(z) + ε·sign ∇D(G(z)).
    Default: weight 1, ε = 0.02 (of data in [-1, 1]).
    Cost: two more forward passes and one more backward pass of D.
    Source: the attack is Goodfellow et al. 2015, Explaining and Harnessing Adversarial Examples; as a third term of a
    GAN's critic: Zhou & Krähenbühl 2019, Don't let your Discriminator be fooled.
    """

    def __init__(self, size: float = 0.02):
        super().__init__()
        self.size = size

    def forward(self, round: Round) -> Tensor:
        attacked = objectives.adversarial_examples(round.logits, round.fake, self.size)
        return objectives.rejection(round.logits(attacked))


@final
class Reconstruction(nn.Module):
    """Self-supervised critic: a small decoder must rebuild a real image from the critic's last features.

    |Dec(h(x)) - x↓|, averaged over pixels, for real x as the critic sees it (augmented), x↓ at the decoder's size.
    Features that still hold the image cannot memorise a few training examples by single traits.
    Default: weight 1; needs the networks of kind fastgan. The paper compares by a perceptual distance, and rebuilds
    cut-outs of larger features too; here it is the mean absolute difference of whole images.
    Cost: one small network.
    Source: Liu et al. 2021, Towards Faster and Stabilized GAN Training (FastGAN), section 3.2.
    """

    def __init__(self, decoder: Decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, round: Round) -> Tensor:
        seen, *_, last = round.real_verdict.features
        rebuilt = self.decoder(last)
        return objectives.l1(rebuilt, adaptive_avg_pool2d(seen.detach(), rebuilt.shape[2:]))


# ---------------------------------------------------------------- of the parameters, for either player


@final
class Orthogonality(nn.Module):
    """Orthogonal regularisation: the filters of a layer should differ.

    ‖WᵀW ⊙ (1 - I)‖²_F over all weights of two or more dimensions but embeddings; the diagonal is free, so that filters
    may have any size. It is what lets BigGAN trade variety for quality by truncating latents.
    Default: weight 1e-4, on the generator.
    Cost: one small matrix product per layer.
    Source: Brock et al. 2019, Large Scale GAN Training, Eq. 3.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.networks = (network,)  # in a tuple: it belongs to a player already

    def forward(self, round: Round) -> Tensor:
        layers = list(self.networks[0].modules())
        columns = {id(w) for layer in layers if isinstance(layer, nn.ConvTranspose2d) for w in layer.parameters()}
        tables = {id(w) for layer in layers if isinstance(layer, nn.Embedding) for w in layer.parameters()}
        weights = [w for w in self.networks[0].parameters() if w.ndim >= 2 and w.requires_grad and id(w) not in tables]
        filters = [w.transpose(0, 1) if id(w) in columns else w for w in weights]  # [filters, ...]
        return torch.stack([objectives.orthogonality(rows) for rows in filters]).sum()


@final
class Absolute(nn.Module):
    """L1 decay: Σ|θ|, a term of the loss, so that it passes through the optimiser.

    Default: weight 1e-5, on the critic. L2 decay is `players.D.weight_decay`.
    Cost: nothing to speak of.
    Source: Tibshirani 1996, Regression Shrinkage and Selection via the Lasso.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.networks = (network,)

    def forward(self, round: Round) -> Tensor:
        return objectives.absolute(list(self.networks[0].parameters()))


@final
class HistoricalAveraging(nn.Module):
    """Historical averaging: each player's parameters are pulled to the mean of their past.

    ‖θ - 1/t Σ_i θ_i‖²: circles in the game shrink. The mean is a running one; `decay` says over how many steps.
    Default: weight 1, running mean with decay 0.999, on both players.
    Cost: one copy of the parameters.
    Source: Salimans et al. 2016, Improved Techniques for Training GANs, section 3.3.
    """

    def __init__(self, network: nn.Module, *, decay: float = 0.999):
        super().__init__()
        self.networks, self.decay = (network,), decay
        for number, parameter in enumerate(network.parameters()):
            self.register_buffer(f"mean_{number}", parameter.detach().clone())

    def forward(self, round: Round) -> Tensor:
        parameters, means = list(self.networks[0].parameters()), list(self.buffers())
        for parameter, mean in zip(parameters, means, strict=True):
            round.remember(mean, torch.lerp(parameter.detach(), mean, self.decay))
        return objectives.historical(parameters, means)


# ---------------------------------------------------------------- of the generator


def matched_features(round: Round) -> Tensor:
    """Feature matching: the generator matches the mean of the critic's features.

    ‖E h(x) - E h(G(z))‖² / size of h, averaged over the critic's layers h. A generator that matches statistics cannot
    win by one perfect example.
    Default: weight 1, beside the adversarial loss; alone = true replaces it, as in the paper.
    Cost: one more forward pass of D on real examples.
    Source: Salimans et al. 2016, Improved Techniques for Training GANs, section 3.1.
    """
    return objectives.feature_matching(round.real_verdict.features, round.forged.features)


def sought_modes(round: Round) -> Tensor:
    """Mode seeking (MSGAN): latents that differ must make examples that differ.

    1 / (|G(z₁) - G(z₂)| / |z₁ - z₂| + 10⁻⁵), distances L1 and averaged over coordinates.
    Default: weight 1.
    Cost: one more pass of G.
    Source: Mao et al. 2019, Mode Seeking GANs for Diverse Image Synthesis, Eq. 3.
    """
    other = torch.randn_like(round.z)
    made = round.generator(other)
    return objectives.mode_seeking(round.fake, made, packed(round.z, made), packed(other, made))


def packed(z: Tensor, x: Tensor) -> Tensor:
    """The latents of each pack in one row."""
    return z.reshape(len(x), -1)


@final
class DiversitySensitive(nn.Module):
    """Diversity-sensitive regularisation (DSGAN): as mode seeking, bounded.

    -min(|G(z₁) - G(z₂)| / |z₁ - z₂|, τ): once examples differ enough, the term rests.
    Default: weight 8, τ = 10, distances averaged over coordinates.
    Cost: one more pass of G.
    Source: Yang et al. 2019, Diversity-Sensitive Conditional GANs, Eq. 3.
    """

    def __init__(self, limit: float = 10.0):
        super().__init__()
        self.limit = limit

    def forward(self, round: Round) -> Tensor:
        other = torch.randn_like(round.z)
        made = round.generator(other)
        return objectives.diversity_sensitive(round.fake, made, packed(round.z, made), packed(other, made), self.limit)


@final
class Entropy(nn.Module):
    """Entropy regularisation: the entropy of the fakes is raised through the information they carry about z.

    H(G(z)) = I(G(z); z) for a deterministic G; a network T trained with G bounds it from below:
    E -sp(-T(G(z), z)) - E sp(T(G(z), z')), z' another latent (Jensen–Shannon bound). A collapsed G carries none.
    Default: weight 1.
    Cost: one small network.
    Source: Kumar et al. 2019, Maximum Entropy Generators for Energy-Based Models, section 3; Hjelm et al. 2019, Eq. 4.
    """

    def __init__(self, statistics: Statistics):
        super().__init__()
        self.statistics = statistics

    def forward(self, round: Round) -> Tensor:
        x, other = round.single(round.fake), round.z.roll(1, dims=0)
        return objectives.information(self.statistics(x, round.z), self.statistics(x, other))


@final
class MutualInformation(nn.Module):
    """InfoGAN: a few latent codes must be readable from the example.

    -E log Q(c | G(z)): Q reads a category (the largest of the first K latents, which G gets as one-hot) and continuous
    codes (the next latents, Gaussian of unit width).
    Default: weight 1, 10 categories, 2 continuous codes.
    Cost: one small network.
    Source: Chen et al. 2016, InfoGAN, Eq. 5 and 6.
    """

    def __init__(self, reader: CodeReader, *, num_categories: int, num_continuous: int):
        super().__init__()
        self.reader, self.num_categories, self.num_continuous = reader, num_categories, num_continuous

    def forward(self, round: Round) -> Tensor:
        scores, means = self.reader(round.single(round.fake))
        K, C = self.num_categories, self.num_continuous
        total = torch.zeros(len(round.z), device=round.z.device)
        if K:
            total = total + objectives.categorical_code(scores, round.z[:, :K].argmax(1))
        if C:
            total = total + objectives.squared_code(round.z[:, K : K + C], means)
        return total


@final
class PathLength(nn.Module):
    """Path length regularisation: a step in latent space moves the image by a fixed amount, whatever the direction.

    (‖Jᵀ y‖ - a)², J the Jacobian of the image by the latent, y ~ N(0, I) / √pixels, a the running mean of the norms. Of
    a generator with styles, J is that by the styles of its layers, and ‖·‖² the mean over layers, as in the paper.
    Default: weight 2, every 4 steps, decay of a 0.99.
    Cost: a double backward pass through G, when it is due.
    Source: Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN, Eq. 4.
    """

    mean: Tensor

    def __init__(self, decay: float = 0.99):
        super().__init__()
        self.decay = decay
        self.register_buffer("mean", torch.tensor(0.0))

    def forward(self, round: Round) -> Tensor:
        with torch.autocast(round.z.device.type, enabled=False):
            z = round.z.detach().float().requires_grad_()
            latents, x = (z, round.generator(z)) if round.traced is None else round.traced(z)
            penalty, lengths = objectives.path_length(x, latents, self.mean)
        round.remember(self.mean, torch.lerp(lengths.detach().mean(), self.mean, self.decay))
        return penalty
