"""Games with an encoder: they reconstruct examples as well as making them from latents."""

from abc import abstractmethod

from torch import Tensor

from equipoise.core.game import LatentGame


class Autoencoder(LatentGame):
    """A latent game that also finds the latents of examples."""

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """The latents [N, Z] that examples [N, *shape] stand for; draws no randomness."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """What the generator makes of the latents of examples."""
        return self.generate(self.encode(x))
