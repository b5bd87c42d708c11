"""Every experiment there is, by name."""

from . import folds, ladder, official, phantoms
from .records import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for module in (official, folds, ladder, phantoms)
    for experiment in module.EXPERIMENTS
}
