"""Every experiment there is, by name."""

from . import ablations, folds, official, recipe, seed_recipe
from .records import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for module in (official, folds, recipe, seed_recipe, ablations)
    for experiment in module.EXPERIMENTS
}
