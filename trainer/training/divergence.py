"""What is said of a training whose loss is not finite any more: where, of which images, and why."""

from trainer.input_pipeline import fill
from trainer.input_pipeline.plan import PhasePlan
from trainer.run.errors import DivergedError
from trainer.training.training import Training


def of_steps(
    training: Training, plan: PhasePlan, epoch: int, steps: range, seed: int
) -> DivergedError:
    """The error of steps that gave a loss or a weight that is not finite.

    Args:
        training: What diverged.
        plan: Of the phase under way.
        epoch: Its number, from 0.
        steps: Of `Steps.not_finite`, as numbers of the epoch's steps.
        seed: Of the order of images.
    """
    for step in steps:
        names, finite = training.batch(plan, epoch, step, seed)
        if not finite.all():
            return DivergedError(
                f"In {_place(training, epoch, step)}, "
                f"{fill.not_finite(plan.train.spec, names[~finite])}"
            )
    where = _place(training, epoch, steps[-1])
    if len(steps) > 2:  # where names are of the last batch
        where = f"the {len(steps)} steps up to {where}"
    return DivergedError(
        f"In {where}, the loss or a weight of the network was not finite any more, though the "
        f"inputs of the batch were: {fill.named(names)}. {lower_rate(training, plan)}, or look at "
        "these images."
    )


def of_validation(training: Training, plan: PhasePlan, epoch: int) -> DivergedError:
    """The error of an epoch whose network gives no finite probabilities.

    Args:
        training: What diverged.
        plan: Of the phase under way.
        epoch: Its number, from 0.
    """
    return DivergedError(
        f"After epoch {epoch + 1} the network gives images that it scores no finite probabilities. "
        f"{lower_rate(training, plan)}."
    )


def lower_rate(training: Training, plan: PhasePlan) -> str:
    """What to change of the settings, the beginning of a sentence."""
    of_phase = "fine_tune_" if plan.phase.first_block else ""
    advice = f"Lower --{of_phase}learning_rate={plan.phase.learning_rate:g}"
    if plan.phase.head_factor != 1:
        rate = training.config.fine_tune_head_learning_rate
        advice += f" or --fine_tune_head_learning_rate={rate:g}"
    if training.precision.policy == "mixed_float16":
        advice += ", give --precision=float32"
    return advice


def _place(training: Training, epoch: int, step: int) -> str:
    return f"epoch {epoch + 1}, step {step + 1} of {training.steps_per_epoch}"
