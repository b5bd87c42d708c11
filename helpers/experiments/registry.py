"""Every experiment there is, by name."""

from . import folds, official, recipe
from .records import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for module in (official, folds, recipe)
    for experiment in module.EXPERIMENTS
}
