"""Several tasks in one game: its terms, what it lets through, what it is told, and the engine's promises."""

from dataclasses import replace

import pytest
import torch

from equipoise import objectives
from equipoise.core.game import Clock
from equipoise.data.degradations import resized
from equipoise.data.source import TaskFacts
from equipoise.engine.conformance import check_game
from equipoise.games.answers import Choice
from equipoise.games.multitask import Multitask
from equipoise.games.restorer import Aims
from equipoise.networks.patch import PatchCritic
from equipoise.networks.taskunet import TaskCritic, TaskUNet
from equipoise.objectives import reconstruction
from equipoise.objectives.balance import GradNorm

TASKS = {"denoise": TaskFacts(0.5, 1, False), "inpaint": TaskFacts(0.25, 1, True), "enlarge": TaskFacts(0.25, 2, False)}
DUEL = Aims(loss=objectives.hinge, adversarial=0.01, matching=2.0, warmup=0.4)


def game(*, balancer=None, classify=None, tasks=TASKS, weights=None, **more):
    made = Multitask(
        TaskUNet(4, 3, num_tasks=len(tasks), num_classes=2 if classify else 0, width=4, depth=2),
        TaskCritic(PatchCritic(3, width=4, num_layers=1, normalisation="none"), num_tasks=len(tasks)),
        replace(DUEL, **more),
        tasks,
        classify=classify,
        weights=weights,
    )
    if balancer is not None:
        made.balance = {"G": balancer}
    return made


def data(position, size, *, classes=False):
    draw = torch.Generator().manual_seed(position)
    target = torch.rand(size, 3, 16, 16, generator=draw) * 2 - 1
    task = torch.arange(size) % 3
    mask = torch.zeros(size, 1, 16, 16)
    mask[task == 1, :, 4:10, 4:10] = 1
    given = (target + 0.1 * torch.rand(target.shape, generator=draw)).clamp(-1, 1) * (1 - mask)
    facts = [task, torch.arange(size) % 2] if classes else [task]
    planes = [fact.float()[:, None, None, None].expand(-1, 1, 16, 16) for fact in facts]
    return torch.cat([given, mask, *planes], dim=1), target


def test_the_game_keeps_the_promises_of_the_engine():
    check_game(game, data, batch=6, steps=5, sample_range=(-1.0, 1.0))
    check_game(lambda: game(balancer=GradNorm(terms=tuple(TASKS), at="G.out")), data, steps=5, sample_range=(-1.0, 1.0))
    check_game(lambda: game(classify=0.1), lambda p, n: data(p, n, classes=True), steps=5, sample_range=(-1.0, 1.0))


def test_without_weights_the_tasks_together_are_the_mean_over_the_batch():
    made = game()
    given, target = data(0, 6)
    [move] = made.step(iter([(given, target)]), Clock(step=0, total=10))
    assert set(move.terms) == set(TASKS)
    errors = reconstruction.l1(target, made.answer(given))
    total = sum(made.weights[f"G/{name}"] * term.mean() for name, term in move.terms.items())
    assert total.item() == pytest.approx(errors.mean().item())
    assert float(move.terms["inpaint"].mean()) == pytest.approx(float(errors[1::3].sum()) / 6 / 0.25)
    assert made.weights["G/denoise"] == 0.5
    assert game(weights={"denoise": 3.0}).weights["G/denoise"] == 1.5


def test_the_warm_up_has_no_critic_and_the_duel_has_all_terms():
    made = game(classify=0.2)
    batches = iter([data(n, 6, classes=True) for n in range(2)])
    [first] = made.step(batches, Clock(step=3, total=10))
    assert (first.player, set(first.terms)) == ("G", {*TASKS, "classify"})
    critic, generator = made.step(batches, Clock(step=4, total=10))
    assert critic.player == "D"
    assert set(generator.terms) == {*TASKS, "classify", "adversarial", "matching"}


def test_known_pixels_of_masked_tasks_stay_and_all_others_are_answered():
    made = game()
    torch.nn.init.normal_(made.G.out.weight)
    given, _ = data(0, 3)
    answer = made.answer(given)
    hidden = given[1, 3].bool()
    assert torch.equal(answer[1][:, ~hidden], given[1, :3][:, ~hidden])
    assert not torch.equal(answer[1][:, hidden], given[1, :3][:, hidden])
    assert (answer[0] != given[0, :3]).any()


def test_both_networks_are_told_the_task_and_neither_the_class():
    made = game(classify=0.1).eval()
    for film in (*made.G.enter, *made.G.leave):
        torch.nn.init.normal_(film.table)
    torch.nn.init.normal_(made.G.out.weight)
    torch.nn.init.normal_(made.D.table)
    given, target = data(0, 1, classes=True)
    other, of_another_class = given.clone(), given.clone()
    other[:, -2], of_another_class[:, -1] = 2, 1
    assert not torch.equal(made.answer(given), made.answer(other))
    assert not torch.equal(made.judge((given, target)), made.judge((other, target)))
    assert torch.equal(made.answer(given), made.answer(of_another_class))
    assert torch.equal(made.judge((given, target)), made.judge((of_another_class, target)))


def test_classes_are_told_by_cross_entropy():
    made = game(classify=0.1)
    given, target = data(0, 4, classes=True)
    [move] = made.step(iter([(given, target)]), Clock(step=0, total=10))
    _, scores = made.answer_and_classes(given)
    expected = torch.nn.functional.cross_entropy(scores, torch.arange(4) % 2)
    assert float(move.terms["classify"].mean()) == pytest.approx(float(expected))
    assert made.weights["G/classify"] == 0.1


def test_a_chosen_task_answers_as_training_does():
    made = game().eval()
    torch.nn.init.normal_(made.G.out.weight)
    for film in made.G.enter:
        torch.nn.init.normal_(film.table)
    image = torch.rand(1, 3, 10, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    plane = torch.zeros(1, 1, 10, 12)
    denoised = made.answerer(Choice(task="denoise"))
    assert (denoised.given, denoised.scale) == (3, 1)
    assert torch.equal(denoised.answer(image), made.restore(torch.cat([image, plane, plane], dim=1)))
    filled = made.answerer(Choice(task="inpaint"))
    assert filled.given == 4
    mask = plane.clone()
    mask[..., 3:6, 3:6] = 1
    given = torch.cat([image * (1 - mask), mask], dim=1)
    assert torch.equal(filled.answer(given), made.restore(torch.cat([given, plane + 1], dim=1)))
    enlarged = made.answerer(Choice(task="enlarge"))
    assert enlarged.scale == 2
    large = resized(image, (20, 24)).clamp(-1, 1)
    planes = torch.zeros(1, 1, 20, 24)
    assert torch.equal(enlarged.answer(image), made.restore(torch.cat([large, planes, planes + 2], dim=1)))


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (Choice(), "several things: denoise, inpaint, enlarge"),
        (Choice(task="denose"), "Did you mean 'denoise'. Valid: denoise, enlarge, inpaint"),
        (Choice(task="denoise", strength=0.5), "lets nobody choose a strength"),
    ],
)
def test_a_task_that_is_missing_or_unknown_is_refused_with_the_list(choice, words):
    with pytest.raises(ValueError, match=words):
        game().answerer(choice)


def test_a_single_task_need_not_be_chosen():
    single = game(tasks={"denoise": TaskFacts(1.0, 1, False)})
    assert single.answerer(Choice()).given == 3
