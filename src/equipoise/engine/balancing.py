"""The balanced terms of one player: what they weigh now, and what is measured of a move for the next weights."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from equipoise.core.balance import Balancer, Measured
from equipoise.core.errors import RecipeError, nearest
from equipoise.core.game import Game
from equipoise.core.schedule import weight_and_interval
from equipoise.engine.averaging import shapes


class Balance:
    """A balancer at work: its state, and the gradients of the move that is being made."""

    def __init__(self, settings: Balancer, terms: tuple[str, ...], point: Sequence[nn.Parameter]):
        self.settings, self.terms, self.point = settings, terms, point
        self.state = {key: value.to(point[0].device) for key, value in settings.begin(terms).items()}
        self.slopes: list[Tensor] = []
        """Of each term the gradient at the point, summed up over micro-batches, flat; empty where none was measured."""

    def weight(self, term: str) -> Tensor | float:
        """What the balancer makes a term count, beside the table."""
        return self.state["weights"][self.terms.index(term)] if term in self.terms else 1.0

    def concerns(self, terms: Collection[str]) -> bool:
        """Whether a move has all the terms; a move without some, as in a warm-up, is not balanced."""
        return set(self.terms) <= set(terms)

    def due(self, step: int) -> bool:
        """Whether gradients are measured at this step."""
        return self.settings.every > 0 and step % self.settings.every == 0

    def measure(self, losses: Mapping[str, Tensor]) -> None:
        """Add the gradients of a micro-batch's losses, which are its share of the whole batch's."""
        found = []
        for term in self.terms:
            slopes = torch.autograd.grad(losses[term], self.point, retain_graph=True, allow_unused=True)
            flat = [torch.zeros_like(p) if slope is None else slope for p, slope in zip(self.point, slopes)]
            found.append(torch.cat([slope.detach().flatten().float() for slope in flat]))
        self.slopes = [old + new for old, new in zip(self.slopes, found)] if self.slopes else found

    def learn(self, losses: Mapping[str, Tensor]) -> None:
        """Take the state of the next move, after a move with these losses of the whole batch was applied."""
        products = None
        if self.slopes:
            slopes = torch.stack(self.slopes)  # [K, P]
            products = slopes @ slopes.T
        with torch.no_grad():
            seen = Measured(self.terms, torch.stack([losses[term].float() for term in self.terms]), products)
            self.state = self.settings.learn(self.state, seen)
        self.forget()

    def forget(self) -> None:
        """Nothing is measured yet of the move that comes."""
        self.slopes = []

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over a saved state. Raises ValueError unless it is that of the same balancer."""
        if shapes(state) != shapes(self.state):
            names = sorted(name for name, _ in shapes(state) ^ shapes(self.state))
            raise ValueError(f"the state of the balancer differs in {', '.join(names)}")
        self.state = {key: state[key].to(value.device, copy=True) for key, value in self.state.items()}


def balances(
    game: Game,
    moves: Mapping[str, Sequence[tuple[str, ...]]],
    parameters: Mapping[str, Mapping[str, nn.Parameter]],
) -> dict[str, Balance]:
    """The balance of each player who has a balancer, from the terms of the moves that were rehearsed.

    Raises `RecipeError` for balancers that do not fit the game.
    """
    found = {}
    for player, settings in game.balance.items():
        if player not in game.players:
            raise RecipeError(f"A balancer for {player!r}, who is not a player. {nearest(player, game.players)}")
        known = moves.get(player, ())
        terms = settings.terms or (known[-1] if known else ())
        for term in terms:
            if not any(term in move for move in known):
                valid = {name for move in known for name in move}
                raise RecipeError(f"Balanced terms of {player}: {term!r} is none of its terms. {nearest(term, valid)}")
            if weight_and_interval(game.weights.get(f"{player}/{term}", 1.0))[1] > 1:
                raise RecipeError(
                    f"Balanced terms of {player}: {term!r} is lazy, and what is balanced must be there at every move. "
                    "Name the others in the balancer's terms, or compute it at every step."
                )
        if len(set(terms)) < max(len(terms), 2):
            listing = ", ".join(terms) or "none"
            raise RecipeError(
                f"Balanced terms of {player}: {listing}. Expected at least two different ones: a single term has "
                "nothing to be balanced with."
            )
        if not any(set(terms) <= set(move) for move in known):
            raise RecipeError(
                f"Balanced terms of {player}: {', '.join(terms)} are never minimised together. Name terms of one move."
            )
        try:
            found[player] = Balance(settings, terms, point_of(settings.at, parameters[player]))
        except ValueError as error:
            raise RecipeError(f"The balancer of {player}: {error}") from error
    return found


def point_of(at: str | None, parameters: Mapping[str, nn.Parameter]) -> list[nn.Parameter]:
    """The parameters of the mover at which gradients are measured."""
    chosen = [p for name, p in parameters.items() if at is None or name == at or name.startswith(f"{at}.")]
    if not chosen:
        modules = {name.rpartition(".")[0] for name in parameters}
        raise ValueError(f"at = {at!r} is no module with parameters of this player. {nearest(str(at), modules)}")
    return chosen
