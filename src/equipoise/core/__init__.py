"""The vocabulary: games, moves, the clock, schedules, seeds and errors."""
