"""Every experiment there is, by name."""

from . import (
    ablations,
    architectures,
    backbone,
    folds,
    inside,
    ladder,
    official,
    phantoms,
    recipe,
    seed_recipe,
    transfer,
)
from .records import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for module in (
        official,
        folds,
        ladder,
        phantoms,
        architectures,
        transfer,
        inside,
        backbone,
        recipe,
        seed_recipe,
        ablations,
    )
    for experiment in module.EXPERIMENTS
}
