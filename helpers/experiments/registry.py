"""Every experiment there is, by name."""

from . import (
    ablations,
    architectures,
    folds,
    ladder,
    official,
    phantoms,
    recipe,
    seed_recipe,
)
from .records import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for module in (
        official,
        folds,
        architectures,
        ladder,
        phantoms,
        recipe,
        seed_recipe,
        ablations,
    )
    for experiment in module.EXPERIMENTS
}
