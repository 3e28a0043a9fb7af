"""The faults that the doctor knows, causes before their consequences."""

from equipoise.doctor.faults import (
    artefacts,
    augmentation_leak,
    critic_too_strong,
    critic_too_weak,
    dead_generator,
    dominating_term,
    empty_labels,
    exploding_critic,
    learning_rate,
    memorisation,
    mode_collapse,
    non_finite,
    oscillation,
    overfitting,
    range_mismatch,
)

FAULTS = (
    non_finite.FAULT,
    range_mismatch.FAULT,
    empty_labels.FAULT,
    dominating_term.FAULT,
    learning_rate.FAULT,
    dead_generator.FAULT,
    exploding_critic.FAULT,
    overfitting.FAULT,
    memorisation.FAULT,
    critic_too_strong.FAULT,
    critic_too_weak.FAULT,
    mode_collapse.FAULT,
    oscillation.FAULT,
    augmentation_leak.FAULT,
    artefacts.FAULT,
)
