"""Every experiment there is, by name."""

from . import folds, official
from .records import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for module in (official, folds)
    for experiment in module.EXPERIMENTS
}
