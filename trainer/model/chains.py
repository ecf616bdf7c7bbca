"""The stages that the frozen part of a network makes of squares, for training and for scoring."""

import dataclasses
from typing import NamedTuple

import keras
import numpy as np

from trainer.augmentation.layer import FORMULA, Augmentation
from trainer.config import Config
from trainer.input_pipeline import resize
from trainer.input_pipeline.cache import Spec
from trainer.input_pipeline.stages import Chain, Compute, Stage, alignment_key, square_stage
from trainer.model import replicas, vgg16
from trainer.model.networks import Networks, scope
from trainer.model.precision import Precision


class Chains(NamedTuple):
    """Both chains of a training; their squares are the same.

    Attributes:
        train: Of augmented views, in the run's precision.
        score: Of the images as they are, in float32, by the layers that are served.
    """

    train: Chain
    score: Chain


def make_chains(config: Config, networks: Networks, precision: Precision) -> Chains:
    """The chains of a config: the square, and a stage for each cut that a phase trains from.

    Args:
        config: Its phases say where the cuts are.
        networks: Whole ones, nothing trained.
        precision: That of `networks.trained`.
    """
    cuts = sorted({each for phase in config.phases if (each := phase.frozen_until) is not None})
    return Chains(
        _chain(config, networks.trained, cuts, precision.policy, True, precision.jit),
        _chain(config, networks.served, cuts, "float32", False, precision.jit),
    )


def _chain(
    config: Config, model: keras.Model, cuts: list[str], policy: str, augmented: bool, jit: bool
) -> Chain:
    ranges = config.augmentation_ranges if augmented else None
    augment = None if ranges is None else Augmentation(ranges)
    drawn = {
        "augmentation": {"formula": FORMULA, **dataclasses.asdict(ranges)} if ranges else {},
        "seed": config.seed if ranges else 0,
    }
    chain, below = [square_stage(config.image_size, config.align)], vgg16.SQUARE
    for cut in cuts:
        with scope(model):
            part = vgg16.part(model, below, cut, jit)
        depends_on = {
            "resize": resize.FORMULA,
            "image_size": config.image_size,
            **alignment_key(config.align),
            "network": vgg16.digest(vgg16.part(model, vgg16.SQUARE, cut)),
            "precision": policy,
            "xla": jit,
            **drawn,
        }
        first = below == vgg16.SQUARE
        chain.append(
            Stage(
                Spec(cut, tuple(part.output.shape[1:]), str(part.output.dtype), depends_on),
                _compute(part, augment if first else None),
                augmented=ranges is not None,
                seed=config.seed if ranges and first else None,
                lower=tuple(chain),
            )
        )
        below = cut
    return tuple(chain)


def _compute(part: keras.Model, augment: Augmentation | None) -> Compute:
    def compute(lower: np.ndarray, draws: np.ndarray | None) -> np.ndarray:
        inputs = lower if augment is None else augment(lower, draws)
        return replicas.predict(part, inputs)

    return compute
