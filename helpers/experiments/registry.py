"""Every experiment there is, by name."""

from . import (
    ablations,
    architectures,
    backbone,
    explain,
    folds,
    inside,
    ladder,
    official,
    pairs,
    phantom_classifier,
    phantoms,
    recipe,
    recipe_time,
    seed_recipe,
    ship,
    stress,
    transfer,
    whole,
)
from .records import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for module in (
        pairs,
        official,
        folds,
        ladder,
        phantoms,
        phantom_classifier,
        architectures,
        transfer,
        inside,
        backbone,
        recipe,
        recipe_time,
        seed_recipe,
        ablations,
        whole,
        explain,
        ship,
        stress,
    )
    for experiment in module.EXPERIMENTS
}
