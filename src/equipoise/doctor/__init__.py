"""The doctor: what the signals of a training mean."""
