"""Every experiment there is, by name."""

from . import architectures, folds, official
from .records import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for module in (official, folds, architectures)
    for experiment in module.EXPERIMENTS
}
