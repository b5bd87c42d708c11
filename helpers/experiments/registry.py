"""Every experiment there is, by name."""

from . import folds, inside, official, transfer
from .records import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for module in (official, folds, transfer, inside)
    for experiment in module.EXPERIMENTS
}
