"""Adam, its update in one pass over the weights, and nothing kept when its model is gone."""

import types

import keras
import tensorflow as tf


def adam(learning_rate: float) -> keras.optimizers.Adam:
    """Keras' Adam, updated by TensorFlow's one kernel for it.

    Keras writes the update as a dozen operations, each of which reads and writes all weights; a
    head of 2 million is bound by just that, and trains twice as fast this way. The formula is the
    same (Kingma and Ba 2015, section 2, its last paragraph), so the numbers are the same but for
    rounding. It is an object of Keras' own class, so that a model saved with it loads anywhere.

    Args:
        learning_rate: Above 0.
    """
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.update_step = types.MethodType(_update, optimizer)
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        # Keras sums gradients over replicas, though there is one, by an operation whose gradient
        # TensorFlow registers for ever, and with it the graph and all variables of the model: a
        # search would keep the weights of every trial.
        optimizer._all_reduce_sum_gradients = list
    return optimizer


def _update(
    self: keras.optimizers.Adam,
    gradient: tf.Tensor,
    variable: tf.Variable,
    learning_rate: tf.Tensor,
) -> None:
    """Takes the place of Adam.update_step."""
    dtype, at = variable.dtype, self._get_variable_index(variable)
    step = tf.cast(self.iterations + 1, dtype)
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=self._momentums[at]._value.handle,
        v=self._velocities[at]._value.handle,
        beta1_power=tf.cast(self.beta_1, dtype) ** step,
        beta2_power=tf.cast(self.beta_2, dtype) ** step,
        lr=tf.cast(learning_rate, dtype),
        beta1=tf.cast(self.beta_1, dtype),
        beta2=tf.cast(self.beta_2, dtype),
        epsilon=tf.cast(self.epsilon, dtype),
        grad=tf.cast(gradient, dtype),
    )
