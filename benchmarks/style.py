"""How good style transfer is: by optimisation, in one pass for one style and for any, and by a critic of patches.

    python -m benchmarks.style gatys --data FOLDER    # styles.zip, cifar10.zip
    python -m benchmarks.style style --data FOLDER    # and t91.zip
    python -m benchmarks.style adain --data FOLDER
    python -m benchmarks.style strokes --data FOLDER

Each trains what it needs into benchmarks/results/.translation/, goes on where it stopped, adds its rows to
benchmarks/results/translation.json and writes docs/pictures/style-*.webp. Contents of styles.zip are never trained on.
All pictures are looked at through a small network that learnt 10,000 images of CIFAR-10: no weights are downloaded.
"""

import time
from pathlib import Path
from statistics import mean, median
from typing import Any
from zipfile import ZipFile

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from benchmarks import rows
from benchmarks.gallery import PICTURES, sheet
from benchmarks.rows import choose, row
from benchmarks.speed import commit
from equipoise import objectives
from equipoise.data.pictures import as_float
from equipoise.data.styled import Place, opened, styled_behind
from equipoise.games.answers import Choice
from equipoise.games.looks import See, Tastes
from equipoise.runs.environment import processor_name
from equipoise.runs.feature_networks import FeatureNetwork, fit_small_vgg
from equipoise.runs.restored import JUDGE_SEED, JUDGE_STEPS, JUDGE_WIDTH
from equipoise.runs.restoring import labelled
from equipoise.runs.styled import colour_matched, distances, stroke_critics, taken_for_style
from equipoise.runs.styling import CONTENT_LAYERS, STYLE_LAYERS, looking
from equipoise.runs.stylise import Painting, stylise

RESULTS = rows.RESULTS / "translation.json"
WORK = rows.RESULTS / ".translation"

SIDE = 192
"""Of the pictures that are stylised."""
CONTENTS = ("golden_gate", "cornell", "sailboat", "modern", "flowers", "chicago", "newyork")
PAIRS = (
    ("golden_gate", "brushstrokes"),
    ("cornell", "mondrian"),
    ("sailboat", "woman_with_hat_matisse"),
    ("modern", "la_muse"),
)
STYLE = "brushstrokes"
"""Of the games of one style."""
UNSEEN = ("la_muse", "brushstrokes", "antimonocromatismo", "picasso_self_portrait")
"""By AdaIN; the other sixteen are trained on, of which none shows a part of these."""
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


# ---------------------------------------------------------------- what all of them need


def learnt(data: Path) -> Path:
    """A folder of 1,000 images of each class of CIFAR-10, to which networks are fitted."""
    folder = WORK / "cifar"
    if not folder.exists():
        counts: dict[str, int] = {}
        with ZipFile(data / "cifar10.zip") as file:
            for name in file.namelist():
                path = Path(name)
                counts[path.parent.name] = counts.get(path.parent.name, 0) + 1
                if "train" in path.parts and path.suffix == ".jpg" and counts[path.parent.name] <= 1000:
                    (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
                    (folder / path.parent.name / path.name).write_bytes(file.read(name))
    return folder


def eye(data: Path) -> tuple[See, str]:
    """How the losses of the shipped recipes see, and the name of that."""
    source, layers = labelled(learnt(data)), STYLE_LAYERS["small"]
    assert source is not None
    network = fit_small_vgg(source, taps=layers)
    see = looking(network, [layers.index(CONTENT_LAYERS["small"])], scales=3)
    return see, f"{network.name}, average pooling, 3 sizes"


def judge(data: Path) -> FeatureNetwork:
    """The network that judges: of another seed and width than that of the losses."""
    source = labelled(learnt(data))
    assert source is not None
    return fit_small_vgg(source, seed=JUDGE_SEED, width=JUDGE_WIDTH, num_steps=JUDGE_STEPS)


def picture(data: Path, kind: str, name: str, *, square: bool = True) -> Tensor:
    """A picture of styles.zip, [1, 3, H, W], its shorter side of 192 pixels, and its central square if asked for."""
    with ZipFile(data / "styles.zip") as file:
        part = next(member for member in file.namelist() if member.startswith(f"{kind}/{name}."))
    x = as_float(opened(Place(data / "styles.zip", part, SIDE), {})[1][0])[None]
    top, left = ((side - SIDE) // 2 for side in x.shape[2:])
    return x[..., top : top + SIDE, left : left + SIDE] if square else x


def settings(data: Path, **more: Any) -> dict[str, Any]:
    """What all trainings have in common."""
    place = {"data.style": data / "styles.zip", "data.style_size": SIDE, "data.size": SIDE}
    return {"game.features": {"images": learnt(data)}, **place, **more}


def style_file(name: str) -> dict[str, str]:
    return {"data.style_part": f"style/{name}.jpg"}


def line(game: str, data: str, metric: str, value: float, *, baseline: float | None, seconds: float) -> dict[str, Any]:
    """A row of what is no run."""
    numbers = {"value": round(value, 4), "baseline": None if baseline is None else round(baseline, 4)}
    about = {"game": game, "recipe": game, "data": data, "metric": metric, **numbers, "seed": 0}
    return {**about, "cpu_seconds": round(seconds), "machine": processor_name(), "commit": commit()}


def keep(found: list[dict[str, Any]]) -> None:
    """Append to the results."""
    rows.keep(found, RESULTS)


def shown(x: Tensor, side: int = SIDE) -> Tensor:
    """A picture in a square, for a sheet."""
    return interpolate(x, size=(side, side), mode="bicubic", antialias=True).clamp(-1, 1)


# ---------------------------------------------------------------- by optimisation


def gatys(data: Path, seed: int) -> None:
    """How much of the Gram distance between content and style is left after 300 steps."""
    see, name = eye(data)
    net, lines, found = judge(data), [], []
    for content, style in PAIRS:
        x, s = picture(data, "content", content), picture(data, "style", style)
        begin = time.process_time()
        y = stylise(x, s, see, how=Painting(steps=300, precision="bf16", seed=seed))
        seconds = time.process_time() - begin
        with torch.no_grad():
            matrices = [objectives.gram(layer) for layer in see(s).style]
            before, after = (objectives.relative_style(matrices, see(one).style).item() for one in (x, y))
            judged = [distances(net, one, x, s).style for one in (x, y)]
        pair = f"{content} in {style}, {SIDE} pixels"
        found.append(line("gatys", pair, f"style[{name}]", after, baseline=before, seconds=seconds))
        found.append(line("gatys", pair, f"style[{net.name}]", judged[1], baseline=judged[0], seconds=seconds))
        lines.append([x, s, y])
    keep(found)
    sheet(lines, PICTURES / "style-gatys.webp")


# ---------------------------------------------------------------- one style


def total(x: Tensor, y: Tensor, s: Tensor, see: See, tastes: Tastes) -> float:
    """What Gatys et al. and the feed-forward network both minimise."""
    with torch.no_grad():
        seen, matrices = see(y), [objectives.gram(layer) for layer in see(s).style]
        content = objectives.relative_content(see(x).content, seen.content).item()
        style = objectives.relative_style(matrices, seen.style).item()
        smoothness = objectives.total_variation(y).item()
    weights = [tastes.content, tastes.style, tastes.smoothness]
    return sum(float(w) * term for w, term in zip(weights, (content, style, smoothness)))  # type: ignore[arg-type]


def one_style(data: Path, seed: int) -> None:
    """Loss and speed of the network beside 500 steps of optimisation, on contents it never saw, interleaved."""
    run, seconds = rows.train("style", STYLE, data / "t91.zip", seed, settings(data, **style_file(STYLE)), work=WORK)
    see, name = eye(data)
    game = run.picture_game(run.trained_game()[0])
    answer, s, tastes = game.answerer(Choice()).answer, picture(data, "style", STYLE, square=False), Tastes()
    losses, times, lines = [], [], []
    with torch.no_grad():
        answer(picture(data, "content", CONTENTS[0]))  # warm-up
    stylise(picture(data, "content", CONTENTS[0]), s, see, how=Painting(steps=3, precision="bf16"))
    for content in CONTENTS[:4]:
        x = picture(data, "content", content)
        passes = []
        for _ in range(5):
            begin = time.process_time()
            with torch.no_grad():
                fast = answer(x)
            passes.append(time.process_time() - begin)
        begin = time.process_time()
        slow = stylise(x, s, see, tastes, how=Painting(steps=500, precision="bf16", seed=seed))
        times.append((median(passes), time.process_time() - begin))
        losses.append(tuple(total(x, y, s, see, tastes) for y in (fast, slow, x)))
        lines.append([x, shown(s), slow, fast])
    of_fast, of_slow, of_content = (mean(column) for column in zip(*losses))
    where, speed = f"4 contents in {STYLE}, {SIDE} pixels", mean(slow / fast for fast, slow in times)
    keep(
        [
            row(run, where, f"total loss[{name}], beside Gatys", of_fast, baseline=of_slow, seconds=seconds),
            row(run, where, f"total loss[{name}], beside content", of_fast, baseline=of_content, seconds=seconds),
            row(run, where, "loss, times that of Gatys", of_fast / of_slow, baseline=1, seconds=seconds),
            row(run, where, "times as fast as 500 steps of Gatys", speed, baseline=1, seconds=seconds),
            row(
                run,
                where,
                "CPU seconds a picture",
                mean(t for t, _ in times),
                baseline=mean(t for _, t in times),
                seconds=seconds,
            ),
        ]
    )
    sheet(lines, PICTURES / "style-fast.webp")


# ---------------------------------------------------------------- any style


def any_style(data: Path, seed: int) -> None:
    """Distances to styles that were never seen, of the answer, of the untouched content, and to a wrong style."""
    unseen = {"data.style_part": "style", "data.unseen": tuple(f"{name}.jpg" for name in UNSEEN)}
    run, seconds = rows.train("adain", "sixteen", data / "t91.zip", seed, settings(data, **unseen), work=WORK)
    game, net = run.picture_game(run.trained_game()[0]), judge(data)
    styles = [picture(data, "style", name, square=False) for name in UNSEEN]
    contents = [picture(data, "content", name) for name in CONTENTS[:4]]

    def answer(x: Tensor, s: Tensor, share: float = 1.0) -> Tensor:
        with torch.no_grad():
            return game.answerer(Choice(style=s[0], strength=share)).answer(x)

    near, before, wrong, kept = [], [], [], []
    for x in contents:
        for number, s in enumerate(styles):
            y = answer(x, s)
            found = distances(net, y, x, s)
            near.append(found.style)
            kept.append(found.content)
            before.append(distances(net, x, x, s).style)
            wrong += [distances(net, y, x, other).style for k, other in enumerate(styles) if k != number]
    where = f"4 contents in 4 unseen styles, {SIDE} pixels"
    found = [
        row(run, where, f"style[{net.name}], beside content", mean(near), baseline=mean(before), seconds=seconds),
        row(run, where, f"style[{net.name}], beside wrong", mean(near), baseline=mean(wrong), seconds=seconds),
        row(run, where, f"content[{net.name}]", mean(kept), baseline=None, seconds=seconds),
    ]
    for share in SHARES:
        some = [distances(net, answer(x, s, share), x, s) for x in contents for s in styles]
        for metric in ("content", "style"):
            value = mean(getattr(one, metric) for one in some)
            found.append(row(run, where, f"{metric}[{net.name}], α = {share}", value, baseline=None, seconds=seconds))
    keep(found)
    head = [torch.ones_like(contents[0]), *(shown(s) for s in styles)]
    sheet([head, *([x, *(answer(x, s) for s in styles)] for x in contents)], PICTURES / "style-any.webp")
    sweep = [[shown(styles[k]), *(answer(contents[k], styles[k], share) for share in SHARES)] for k in range(3)]
    sheet(sweep, PICTURES / "style-strength.webp")


# ---------------------------------------------------------------- strokes


def strokes(data: Path, seed: int) -> None:
    """How much of stylised pictures independent classifiers of patches take for the painting."""
    run, seconds = rows.train(
        "style-gan", STYLE, data / "t91.zip", seed, settings(data, **style_file(STYLE)), work=WORK
    )
    game, net = run.picture_game(run.trained_game()[0]), judge(data)
    source, _ = styled_behind(run.source())
    critics, s = stroke_critics(source), as_float(source.styles[0])[None]
    contents = [picture(data, "content", name) for name in CONTENTS]
    with torch.no_grad():
        answers = [game.answerer(Choice()).answer(x) for x in contents]
    all_three = {"ours": answers, "colours": [colour_matched(x, s) for x in contents], "untouched": contents}
    scores = {name: mean(taken_for_style(critics, x) for x in images) for name, images in all_three.items()}
    judged = {name: [distances(net, y, x, s) for x, y in zip(contents, images)] for name, images in all_three.items()}
    where = f"7 contents in {STYLE}, {SIDE} pixels"
    found = [
        row(run, where, f"strokes, beside {name}", scores["ours"], baseline=scores[name], seconds=seconds)
        for name in ("colours", "untouched")
    ]
    ceiling = taken_for_style(critics, s)
    found.append(row(run, where, "strokes of the painting itself", ceiling, baseline=None, seconds=seconds))
    for name in ("colours", "untouched"):
        value, baseline = (mean(one.style for one in judged[k]) for k in ("ours", name))
        found.append(row(run, where, f"style[{net.name}], beside {name}", value, baseline=baseline, seconds=seconds))
    kept = mean(one.content for one in judged["ours"])
    found.append(row(run, where, f"content[{net.name}]", kept, baseline=None, seconds=seconds))
    keep(found)
    lines = [[x, shown(s), colour_matched(x, s), y] for x, y in list(zip(contents, answers))[:4]]
    sheet(lines, PICTURES / "style-strokes.webp")


if __name__ == "__main__":
    choose(__doc__, {"gatys": gatys, "style": one_style, "adain": any_style, "strokes": strokes})
