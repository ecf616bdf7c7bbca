"""Training steps of one part of a network: gradients, the optimizer, the running means."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.model import replicas
from trainer.training.optimizers import make_optimizer


class Steps:
    """Steps that train what is free in a part of a network.

    They are traced once, and serve every fold: `reset` brings the optimizer back to its beginning.
    A step is the same whatever the number of replicas that divide its batch: one mean over all of
    its images, and so the same learning rate.

    Attributes:
        optimizer: Keras' optimizer, or its wrapper that scales float16's loss.
    """

    def __init__(
        self,
        part: keras.Model,
        learning_rate: float,
        *,
        classes: int,
        optimizer: str = "adam",
        weight_decay: float = 0.0,
        label_smoothing: float = 0.0,
        factors: Sequence[float] = (),
        warmup: int | None = None,
    ) -> None:
        """Traces nothing yet.

        Args:
            part: From the inputs of a batch to logits [batch, classes], or to a list of them, one a
                member of an ensemble; what of it is trainable now is trained, by the replicas of
                its strategy.
            learning_rate: Above 0; the highest one where it is scheduled.
            classes: How many.
            optimizer: "adam" or "sgd".
            weight_decay: Of kernels; see `make_optimizer`.
            label_smoothing: Share of each label that is spread evenly over all classes, 0..1.
            factors: See `make_optimizer`; of the trainable variables of the part.
            warmup: Steps in which the learning rate rises from 0 in a line, at most half of all,
                before it falls along half a cosine to 0. None: it is constant.
        """
        self._part, self._variables = part, part.trainable_variables
        self._strategy = part.distribute_strategy
        self._replicas = self._strategy.num_replicas_in_sync
        self._seeds = [each for each in part.variables if each.name == "seed_generator_state"]
        with self._strategy.scope():
            # Variables: the steps of a fold are its own, and are traced once for all folds.
            self._warmup, self._decay = (tf.Variable(1.0, trainable=False) for _ in range(2))
            if warmup is not None:
                learning_rate = keras.optimizers.schedules.CosineDecay(
                    0.0, self._decay, warmup_target=learning_rate, warmup_steps=self._warmup
                )
            self._most_warmup = warmup or 0
            plain = make_optimizer(optimizer, learning_rate, weight_decay, factors)
            scaled = keras.config.dtype_policy().name == "mixed_float16"
            self.optimizer = keras.optimizers.LossScaleOptimizer(plain) if scaled else plain
            self.optimizer.build(self._variables)
            self._weights = tf.Variable(tf.ones(classes), trainable=False)
        self._begin = [variable.numpy() for variable in self.optimizer.variables]
        self._smoothing, self._classes = label_smoothing, classes
        self._clock = _clock()
        with tf.device("CPU"):
            self._waited = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self._sums = tf.Variable(tf.zeros(3), trainable=False)  # loss, right, images
        # How many steps were made; how many had a finite loss, up to the first that had not; and 1
        # where all weights were finite at the end of a call. No integers, which TensorFlow would
        # keep on the host, where each step of a GPU would be waited for.
        self._finite = tf.Variable([0.0, 0.0, 1.0], trainable=False)
        self._calls: list[tf.Tensor] = []  # `_finite` after each of the last three
        self._run = tf.function(self._steps, autograph=False)

    def reset(self, class_weights: Sequence[float], count: int = 1) -> None:
        """Brings the optimizer back to its beginning: no moments, the first learning rate.

        Args:
            class_weights: Weight of each class in the loss, from now on.
            count: Steps that follow if the training is not stopped; a schedule ends with them.
        """
        warmup = min(self._most_warmup, count // 2)
        self._warmup.assign(warmup)
        self._decay.assign(count - warmup)
        self._weights.assign(class_weights)
        for variable, value in zip(self.optimizer.variables, self._begin, strict=True):
            variable.assign(value)
        self._count_from_here()

    @property
    def begin(self) -> list[np.ndarray]:
        """What `variables` are after `reset` and `start_epoch`."""
        return [*self._begin, np.zeros(3, np.float32)]

    @property
    def variables(self) -> list[tf.Variable]:
        """What changes from step to step besides the part's own: the optimizer's, and the means."""
        return [*self.optimizer.variables, self._sums]

    def start_epoch(self) -> None:
        """Begins the means of an epoch."""
        self._sums.assign(tf.zeros(3))
        self._waited.assign(0.0)
        self._count_from_here()

    def _count_from_here(self) -> None:
        self._finite.assign([0.0, 0.0, 1.0])
        self._calls = []

    def run(self, batches: Iterator, batch_size: int) -> None:
        """Trains on what comes next: one batch or several, which cost the input one element.

        Handing an element over takes some .3 ms, a tenth of a head's step.

        Args:
            batches: An iterator of a tf.data.Dataset of (inputs, int64 [images] labels).
            batch_size: Images a step; the last step of an element may have fewer.
        """
        self._run(batches, tf.constant(batch_size))
        self._calls = [*self._calls[-2:], self._finite.read_value()]

    def not_finite(self, *, now: bool = True) -> range | None:
        """In which steps the loss or a weight became other than finite.

        A loss shows it in the step itself or in the one after. Weights can show it alone: some
        kernels make 0 of what is not a number. They are looked at once a call.

        Args:
            now: Whether the steps of the last call count. They are waited for, where those of the
                call before have mostly ended.

        Returns:
            Numbers of steps since the epoch's start or `reset`, from 0, the last of which shows it;
            None: all is finite.
        """
        before = 0  # of three calls, the first was looked at, and says where the second began
        for finite in self._calls if now else self._calls[:-1]:
            steps, count, of_weights = (int(each) for each in finite.numpy())
            if count < steps:
                return range(max(count - 1, 0), count + 1)
            if not of_weights:
                return range(before, steps)
            before = steps
        return None

    def means(self) -> dict[str, float]:
        """`loss` (with the penalty of L2) and `accuracy` of the epoch so far, over its images.

        Of an ensemble, the mean of the members' losses, and the accuracy of their mean
        probabilities.
        """
        loss, right, images = self.sums.tolist()
        return {"loss": loss / images, "accuracy": right / images}

    @property
    def sums(self) -> np.ndarray:
        """float32 [3] over the images of the epoch so far: losses, right ones, and their number."""
        return self._sums.numpy()

    @property
    def waited(self) -> float:
        """Seconds that the device waited for input in the epoch so far."""
        return float(self._waited.numpy())

    def _steps(self, batches: Iterator, batch_size: tf.Tensor) -> None:
        with tf.device("CPU"):
            before = self._clock()
        # TensorFlow orders what shares a variable; a clock shares none.
        with tf.control_dependencies([before]):
            inputs, labels = next(batches)
        with tf.control_dependencies([labels]), tf.device("CPU"):
            self._waited.assign_add(self._clock() - before)
        images = tf.shape(labels)[0]

        def step(first: tf.Tensor) -> list[tf.Tensor]:
            self._step(inputs, labels, slice(first, first + batch_size))
            return [first + batch_size]

        tf.while_loop(lambda first: first < images, step, [0])
        # One pass over the weights: their sum is finite if each is.
        total = tf.add_n([tf.reduce_sum(each.value) for each in self._variables])
        self._finite[2].assign(tf.cast(tf.math.is_finite(total), tf.float32))

    def _step(self, inputs: tf.Tensor | tuple, labels: tf.Tensor, batch: slice) -> None:
        inputs, labels = tf.nest.map_structure(lambda each: each[batch], (inputs, labels))
        # Over the sum of the weights: right for a batch of any size, and for parts of one.
        weight = tf.reduce_sum(tf.gather(self._weights, labels))
        parts, real = replicas.divided(self._strategy, (inputs, labels))
        sums = self._strategy.run(self._replica_step, (*parts, real, weight))
        loss, right = tf.unstack(self._strategy.experimental_local_results(sums)[0])
        count = tf.cast(tf.shape(labels)[0], tf.float32)
        sums = self._sums.assign_add([loss * count, right, count])
        # The sum stays as it is once it is not finite, and so does the number.
        finite = tf.cast(tf.math.is_finite(sums[0]), tf.float32)
        self._finite.assign_add([1.0, finite, 0.0])

    def _replica_step(
        self, inputs: tf.Tensor | tuple, labels: tf.Tensor, real: tf.Tensor, weight: tf.Tensor
    ) -> tf.Tensor:
        """One replica's share of a step; gives the loss and the number of right ones of all."""
        with tf.GradientTape() as tape:
            with self._own_masks():
                of_members = tf.nest.flatten(self._part(inputs, training=True))
            of_members = [tf.cast(logits, tf.float32) for logits in of_members]
            spread = self._smoothing / self._classes
            targets = tf.one_hot(labels, self._classes, 1 - self._smoothing + spread, spread)
            # The sum: each member has the gradients that it would have alone.
            losses = tf.add_n(
                [tf.nn.softmax_cross_entropy_with_logits(targets, each) for each in of_members]
            )
            weights = real * tf.gather(self._weights, labels)
            loss = tf.reduce_sum(weights * losses) / weight
            loss += sum(self._part.losses) / self._replicas
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [variable.value for variable in self._variables])
        scores = of_members if len(of_members) == 1 else map(tf.nn.softmax, of_members)
        predicted = tf.argmax(tf.add_n(list(scores)), axis=1)
        right = tf.reduce_sum(real * tf.cast(predicted == labels, tf.float32))
        *gradients, sums = replicas.summed([*gradients, tf.stack([loss / len(of_members), right])])
        self.optimizer.apply(gradients, self._variables)
        return sums

    @contextlib.contextmanager
    def _own_masks(self) -> Iterator[None]:
        """Lets each replica drop units of its own, of one stream of random numbers.

        Keras counts the calls of a dropout on each replica by itself, so that all would drop the
        same. Here the n-th replica takes every n-th number; between steps all counts are equal.
        """
        if self._replicas > 1:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            self._count_on(replica)
            yield
            self._count_on(self._replicas - 1 - replica)
        else:
            yield

    def _count_on(self, calls: int) -> None:
        for state in self._seeds:
            state.assign_add([0, calls])


def _clock() -> Callable[[], tf.Tensor]:
    """TensorFlow's own clock, which costs nothing; Python's, .4 ms a call, where it is refused."""
    try:
        tf.timestamp()
    except tf.errors.FailedPreconditionError:
        return _python_clock  # TensorFlow is bound to be deterministic, if by an earlier training
    return tf.timestamp


def _python_clock() -> tf.Tensor:
    seconds = tf.numpy_function(lambda: np.float64(time.perf_counter()), [], tf.float64)
    return tf.ensure_shape(seconds, [])
