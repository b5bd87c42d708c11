"""Every experiment there is, by name."""

from . import folds, ladder, official
from .records import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for module in (official, folds, ladder)
    for experiment in module.EXPERIMENTS
}
