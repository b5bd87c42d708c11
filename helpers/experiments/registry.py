"""Every experiment there is, by name."""

from . import architectures, folds, inside, ladder, official, phantoms, transfer
from .records import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for module in (official, folds, architectures, ladder, phantoms, transfer, inside)
    for experiment in module.EXPERIMENTS
}
