"""The optimizers: Adam in one pass over the weights, and nothing held when a model is gone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from trainer.run.errors import RunError

if TYPE_CHECKING:  # what it is mixed into
    from keras.optimizers import Optimizer as _Mixed
else:
    _Mixed = object


class _ForSteps(_Mixed):
    """Keras' optimizer as `Steps` uses it, mixed into a class of its.

    Attributes:
        factors: What the learning rate is multiplied by for each variable, in the order in which
            the optimizer was built with them; () stands for 1 everywhere.
    """

    factors: Sequence[float] = ()

    @property
    def learning_rate(self) -> tf.Tensor | keras.Variable:
        """That of the next step; callbacks may set it where no schedule does."""
        return super().learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        if isinstance(self._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
            raise RunError(
                "A callback sets the learning rate of fine-tuning, which follows a schedule "
                "(--fine_tune_schedule=cosine). Leave the callback out, or give "
                "--fine_tune_schedule=constant."
            )
        keras.optimizers.Optimizer.learning_rate.fset(self, rate)

    def _all_reduce_sum_gradients(self, grads_and_vars: list) -> list:
        """Leaves gradients as they are, since `Steps` sums them.

        Keras sums them here, even if there is one replica, by an operation whose gradient
        TensorFlow registers for ever (see `replicas.summed`); and its loss scaling for float16
        looks at the first replica's gradients alone, as if they were the sums.
        """
        return list(grads_and_vars)

    def _apply_weight_decay(self, variables: list) -> None:
        """Leaves variables as they are: `update_step` decays each by a rate of its own."""

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Updates one variable; see `keras.optimizers.Optimizer.update_step`."""
        rate = tf.cast(learning_rate, variable.dtype)
        factor = self.factors[self._get_variable_index(variable)] if self.factors else 1.0
        if factor != 1:
            rate *= factor
        if self.weight_decay and self._use_weight_decay(variable):
            variable.assign_sub(variable * tf.cast(self.weight_decay, variable.dtype) * rate)
        super().update_step(gradient, variable, rate)


class SGD(_ForSteps, keras.optimizers.SGD):
    """Keras' SGD."""


class _OneKernelAdam(keras.optimizers.Adam):
    """Keras' Adam, updated by one operation.

    Keras writes the update as a dozen operations, each of which reads and writes all weights; a
    head of 2 million is bound by just that, and trains 1.7 times as fast this way. The formula is
    the same (Kingma and Ba 2015, section 2, its last paragraph), so the numbers are the same but
    for rounding.
    """

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Updates one variable; see `keras.optimizers.Optimizer.update_step`."""
        dtype, at = variable.dtype, self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[at].value.handle,
            v=self._velocities[at].value.handle,
            beta1_power=tf.cast(self.beta_1, dtype) ** step,
            beta2_power=tf.cast(self.beta_2, dtype) ** step,
            lr=tf.cast(learning_rate, dtype),
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )


class Adam(_ForSteps, _OneKernelAdam):
    """Keras' Adam, updated by TensorFlow's one kernel for it."""


def make_optimizer(
    name: str,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float = 0.0,
    factors: Sequence[float] = (),
) -> keras.optimizers.Optimizer:
    """An optimizer, not built yet.

    Args:
        name: "adam", or "sgd" (Nesterov's momentum of .9).
        learning_rate: Above 0, or a function of the number of steps so far.
        weight_decay: Times the learning rate, the share that kernels lose at each step, apart from
            the gradient (Loshchilov and Hutter 2019); at least 0. Biases lose nothing.
        factors: Of the learning rate, above 0, for each variable that it will be built with; none:
            one rate for all.
    """
    decay = weight_decay or None  # a decay of 0 would be computed at each step, too
    if name == "sgd":
        optimizer = SGD(learning_rate, momentum=0.9, nesterov=True, weight_decay=decay)
    else:
        optimizer = Adam(learning_rate, weight_decay=decay)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.factors = tuple(factors)
    return optimizer
