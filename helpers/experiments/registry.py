"""Every experiment there is, by name."""

from . import (
    ablations,
    architectures,
    backbone,
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
        ablations,
        architectures,
        backbone,
        ladder,
        phantoms,
        recipe,
        seed_recipe,
    )
    for experiment in module.EXPERIMENTS
}
