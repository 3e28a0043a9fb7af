"""The catalogue of techniques: what there is, how a recipe asks for it, and what its documentation says."""

import inspect
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from equipoise import objectives
from equipoise.core.errors import nearest
from equipoise.core.schedule import Lazy, Schedule
from equipoise.engine.averaging import Averaging
from equipoise.engine.lookahead import Lookahead
from equipoise.engine.optimizers import RULES, SETTINGS
from equipoise.engine.trainer import Plan
from equipoise.games import augmentation, jury, terms
from equipoise.games.gan import clip_weights
from equipoise.games.throttle import Throttle
from equipoise.networks.attention import SelfAttention
from equipoise.networks.ensemble import Specialists
from equipoise.networks.initialisation import initialise
from equipoise.networks.minibatch import MinibatchDeviation, MinibatchDiscrimination, pack
from equipoise.networks.progressive import ProgressiveGenerator
from equipoise.objectives.balance import BALANCERS
from equipoise.runs.parts import LOSSES, PENALTIES

HERE: dict[str, str] = {
    "critic_steps": """Several moves of the critic for each of the generator's (n_critic).

The critic answers the present generator better before that one moves on.

Default: 1; 5 for WGAN-GP and SNGAN, 2 for BigGAN.
Cost: one critic's move each.
Source: Goodfellow et al. 2014, Algorithm 1; Gulrajani et al. 2017.""",
    "spectral": """Spectral normalisation: every layer of the critic is divided by its largest singular value.

W / σ(W), σ by one power iteration at each training step. The critic's slope is bounded without a penalty.

Default: off in DCGAN and the MLP, on in ResNet.
Cost: 1 to 5 % of a step.
Source: Miyato et al. 2018, Spectral Normalization for GANs, Algorithm 1.""",
    "dropout": """Dropout of the critic's features: it cannot rely on any one of them.

Default: off; 0.2 to 0.5.
Cost: nothing to speak of.
Source: Srivastava et al. 2014; as a source of the critic's noise Isola et al. 2017 (there in the generator).""",
    "critic_width": """A smaller or larger critic, or generator: the width of either by itself.

`width` is the generator's and, unless `critic_width` says otherwise, the critic's too.

Default: both the same.
Cost: less for less.
Source: Metz et al. 2017 and Lin et al. 2018 use smaller critics to provoke collapse.""",
    "weight_decay": """L2 decay of a player's weights, through the gradient (adam, sgd, rmsprop) or beside it (adamw).

g ← g + λθ, or θ ← (1 - ηλ)θ.

Default: off (0); 1e-5 to 1e-4 on the critic.
Cost: nothing to speak of.
Source: Krogh & Hertz 1992; Loshchilov & Hutter 2019 (decoupled).""",
    "normalisation": """The generator's normalisation: of the batch, of each pixel's channels, or none.

Default: batch in DCGAN, pixel in progressive networks, none in the MLP.
Cost: pixel and none are a little cheaper than batch.
Source: Radford et al. 2016 (batch); Karras et al. 2018, section 4.2 (pixel).""",
    "simultaneous": """Simultaneous moves: both players' gradients are taken before either is updated.

The game of the theory; alternating moves, the default, are the practice and more stable.

Default: alternating.
Cost: as alternating.
Source: Mescheder et al. 2017, The Numerics of GANs; Gidel et al. 2019.""",
    "unrolled": """Unrolling: the generator answers the critic as it will be after a few of its own moves.

θ_D⁰ = θ_D, θ_Dⁱ⁺¹ = θ_Dⁱ - update(∇L_D(θ_Dⁱ, G)); G minimises its loss before D(θ_Dᵏ), and its gradient flows through
all k steps of D's optimiser (adam, adamw, rmsprop, sgd) from its present moments. A collapsed generator sees the critic
that will have found it out. Games of your own ask by `now.preview("D", terms, steps=k)`.

Default: off (0); 5 to 10 steps.
Cost: k forward passes and k twice differentiable backward passes of D in each move of G.
Source: Metz et al. 2017, Unrolled Generative Adversarial Networks.""",
    "finite-difference": """Gradient penalties without double backward, by a difference along the gradient's direction.

‖∇D(x)‖ ≈ (D(x + εu) - D(x - εu)) / 2ε, u = ∇D/‖∇D‖ held fixed: exact to O(ε²) in value and in the critic's gradient.

Default: off (double-backward).
Cost: one plain backward and two more forward passes of D, in place of a double backward pass.
Source: own formulation; differences for slopes as in Wei et al. 2018 (CT-GAN).""",
    "separate": """Lazy penalties as moves of their own, with the optimiser's constants corrected.

Due every k steps: the learning rate is multiplied by c = k/(k + 1) and the betas are raised to the power c, since the
critic makes k + 1 moves in k steps.

Default: off: a lazy penalty is a term of the critic's ordinary move.
Cost: one more update every k steps.
Source: Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN, appendix B.""",
}


@dataclass(frozen=True)
class Entry:
    """One technique: how a recipe asks for it, and its documentation."""

    group: str
    name: str
    setting: str
    """As on the command line: `--set SETTING`."""
    about: str
    beside: str = ""
    """A setting that it needs beside, where the default has another."""

    @property
    def command(self) -> str:
        """How to train with it."""
        settings = [setting for setting in (self.setting, self.beside) if setting]
        return f"equipoise train --set {shlex.join(settings)}"

    @property
    def summary(self) -> str:
        """One line."""
        return self.about.splitlines()[0]


def told(thing: Callable | type | str) -> str:
    """The documentation of a function or class, or the text itself."""
    return thing if isinstance(thing, str) else inspect.getdoc(thing) or ""


def entries() -> list[Entry]:
    """Every technique, in the order of the documentation."""
    losses = [("Losses", name, f"game.loss={name}", LOSSES[name].about) for name in LOSSES]
    penalties = [("Regularisers", name, f"game.penalties.{name}=WEIGHT", told(PENALTIES[name])) for name in PENALTIES]
    rules = [("Training", name, f"players.D.rule={name}", RULES[name]) for name in RULES]
    two_terms = "game.mode_seeking=true"  # the default has but one term of the generator
    balancers = [("Balance", name, f"game.balance={name}", told(BALANCERS[name]), two_terms) for name in BALANCERS]
    others = [
        ("Losses", "label-smoothing", "game.targets=true", objectives.with_targets),
        ("Regularisers", "finite-difference", "game.penalty_form=finite-difference", HERE["finite-difference"]),
        ("Regularisers", "lazy", "game.penalties.r1={weight = 0.5, every = 16}", Lazy),
        (
            "Regularisers",
            "separate-penalties",
            "game.separate_penalties=true",
            HERE["separate"],
            "game.penalties.r1={weight = 0.5, every = 16}",
        ),
        ("Regularisers", "weight-clipping", "game.clip=0.01", clip_weights),
        ("Regularisers", "spectral-norm", "game.network.critic_normalisation=spectral", HERE["spectral"]),
        ("Regularisers", "orthogonality", "game.orthogonality=true", terms.Orthogonality),
        ("Regularisers", "l1", "game.l1=true", terms.Absolute),
        ("Regularisers", "weight-decay", "players.D.weight_decay=1e-5", HERE["weight_decay"]),
        ("Regularisers", "dropout", "game.network.dropout=0.3", HERE["dropout"]),
        ("Regularisers", "instance-noise", "game.instance_noise=true", augmentation.InstanceNoise),
        ("Regularisers", "gradient-noise", "players.D.gradient_noise=0.01", SETTINGS["gradient_noise"]),
        ("Regularisers", "consistency", "game.consistency=true", terms.Consistency),
        ("Regularisers", "latent-consistency", "game.latent_consistency=true", terms.LatentConsistency),
        ("Regularisers", "lecam", "game.lecam=true", terms.LeCam),
        ("Regularisers", "adversarial-examples", "game.adversarial_examples=true", terms.AdversarialExamples),
        (
            "Regularisers",
            "reconstruction",
            "game.reconstruction=true",
            terms.Reconstruction,
            "game.network.kind=fastgan",
        ),
        ("Regularisers", "path-length", "game.path_length=true", terms.PathLength),
        ("Against collapse", "feature-matching", "game.feature_matching=true", terms.matched_features),
        (
            "Against collapse",
            "minibatch-discrimination",
            "game.network.minibatch=discrimination",
            MinibatchDiscrimination,
        ),
        ("Against collapse", "minibatch-deviation", "game.network.minibatch=deviation", MinibatchDeviation),
        ("Against collapse", "packing", "game.packing=2", pack),
        ("Against collapse", "unrolled", "game.unrolled=5", HERE["unrolled"]),
        ("Against collapse", "historical-averaging", "game.historical_averaging=true", terms.HistoricalAveraging),
        ("Against collapse", "multi-adversarial", "game.critics=3", jury.MultiAdversarial),
        ("Against collapse", "random-subset", "game.critics.how=random-subset", jury.RandomSubset),
        ("Against collapse", "specialists", "game.critics.how=specialists", Specialists),
        ("Against collapse", "past-critics", "game.past_critics=true", jury.PastCritics),
        ("Against collapse", "network-sizes", "game.network.critic_width=16", HERE["critic_width"]),
        ("Against collapse", "entropy", "game.entropy=true", terms.Entropy),
        ("Against collapse", "mode-seeking", "game.mode_seeking=true", terms.sought_modes),
        ("Against collapse", "diversity-sensitive", "game.diversity_sensitive=true", terms.DiversitySensitive),
        ("Against collapse", "top-k", "game.top_k=true", objectives.top_k),
        ("Against collapse", "mutual-information", "game.mutual_information=true", terms.MutualInformation),
        ("Training", "two-time-scales", "players.D.learning_rate=4e-4", SETTINGS["learning_rate"]),
        ("Training", "critic-steps", "game.critic_steps=5", HERE["critic_steps"]),
        ("Training", "throttle", "game.throttle=true", Throttle),
        ("Training", "averaged-weights", "training.ema_half_life=20000", Averaging),
        ("Training", "schedules", "players.D.learning_rate={start = 2e-4, end = 0}", Schedule),
        ("Training", "batch-schedule", "training.batch={start = 32, end = 128}", Plan.batch_at),
        ("Training", "clip-norm", "players.G.clip_norm=1", SETTINGS["clip_norm"]),
        ("Training", "clip-value", "players.G.clip_value=0.1", SETTINGS["clip_value"]),
        ("Training", "simultaneous", "game.order=simultaneous", HERE["simultaneous"]),
        ("Training", "lookahead", "training.lookahead=true", Lookahead),
        ("Training", "progressive-growing", "game.network.kind=progressive", ProgressiveGenerator),
        ("Training", "self-attention", "game.network.attention=8", SelfAttention, "game.network.kind=resnet"),
        ("Training", "initialisation", "game.network.initialisation=orthogonal", initialise),
        (
            "Training",
            "generator-normalisation",
            "game.network.generator_normalisation=pixel",
            HERE["normalisation"],
            "game.network.kind=dcgan",
        ),
        ("Augmentation", "diffaugment", "game.diffaugment=true", augmentation.DiffAugment),
        ("Augmentation", "classical", "game.classical=true", augmentation.Classical),
        ("Augmentation", "ada", "game.ada=true", augmentation.AdaptiveAugment),
        ("Augmentation", "apa", "game.apa=true", augmentation.PseudoReal),
    ]
    every = [*losses, *penalties, *rules, *balancers, *((g, n, s, told(a), *more) for g, n, s, a, *more in others)]
    order = ("Losses", "Regularisers", "Against collapse", "Training", "Balance", "Augmentation")
    return sorted((Entry(*entry) for entry in every), key=lambda entry: order.index(entry.group))


def found(name: str) -> list[Entry]:
    """The techniques that a name may mean: their own, that of their setting, or a word of their documentation."""
    every, wanted = entries(), name.strip().lower().replace("_", "-")
    own = [entry for entry in every if entry.name == wanted]
    if own:
        return own
    part = wanted.rpartition(".")[2]
    set_by = [entry for entry in every if part in keys(entry.setting)]
    if set_by:
        return set_by
    word = re.compile(rf"(?<![\w-]){re.escape(wanted)}(?![\w-])", re.IGNORECASE)
    return [entry for entry in every if word.search(entry.about)]


def keys(setting: str) -> list[str]:
    """The keys of a setting, as names of techniques are written."""
    return setting.partition("=")[0].replace("_", "-").split(".")


def hint(name: str) -> str:
    """What somebody may have meant who asked for a technique of a name that there is none of."""
    some = found(name)[:4]
    if not some:
        return nearest(name.lower(), [entry.name for entry in entries()])
    return "Did you mean " + ", or ".join(f"{entry.name} (--set {shlex.quote(entry.setting)})" for entry in some) + "?"


def markdown() -> str:
    """The page docs/techniques.md."""
    lines = [
        "# Techniques",
        "",
        "Every technique is off unless a recipe asks for it, by `--set SETTING` on the command line or in its TOML",
        "file. Of the techniques under `game`, `true` takes the default, `false` leaves out, a number or a schedule",
        "sets the main strength, a table such as `game.lecam.decay=0.999` the rest. What cannot be combined is refused",
        "with the reason. This page is made from the docstrings by `equipoise techniques --markdown`; what each",
        "technique did in a measured comparison is in [stability.md](stability.md).",
    ]
    group = ""
    for entry in entries():
        if entry.group != group:
            group = entry.group
            lines += ["", f"## {group}"]
        beside = f" with `{entry.beside}`" if entry.beside else ""
        lines += ["", f"### {entry.name}", "", f"`{entry.setting}`{beside}", "", *paragraphs(entry.about)]
    return "\n".join(lines) + "\n"


def paragraphs(about: str) -> list[str]:
    """A docstring as Markdown: examples as code, the facts at its end as a list."""
    lines, code = [], False
    for line in about.splitlines():
        if line.startswith(">>>") and not code:
            lines.append("```python")
            code = True
        elif code and not line.strip():
            lines.append("```")
            code = False
        fact = line.partition(":")[0]
        lines.append(f"- **{fact}:**{line.partition(':')[2]}" if fact in ("Default", "Cost", "Source") else line)
    lines += ["```"] if code else []
    spaced: list[str] = []
    for line in lines:
        if line.startswith("- **Default") and spaced and spaced[-1].strip():
            spaced.append("")
        spaced.append(line)
    return spaced
