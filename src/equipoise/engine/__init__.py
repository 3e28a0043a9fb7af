"""The engine: plays any game; gradients, precision, averaging, guards and checkpoints."""
