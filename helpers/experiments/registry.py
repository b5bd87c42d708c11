"""Every experiment there is, by name."""

from . import architectures, backbone, folds, ladder, official, phantoms
from .records import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for module in (official, folds, architectures, ladder, phantoms, backbone)
    for experiment in module.EXPERIMENTS
}
