"""Seconds per step of two towers in Keras and keras-rs on JAX, by `model.fit`.

`peer_training` describes the job.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"

import keras
import keras_rs
from keras import layers, ops
from peer_training import (
    ACCUMULATOR,
    RATE,
    TEMPERATURE,
    Clock,
    batches,
    fit,
    read_job,
)


def make_tower(rows: int, dim: int) -> keras.Sequential:
    """Return table, hidden layer and a unit vector."""
    return keras.Sequential(
        [
            layers.Embedding(rows, dim),
            layers.Dense(2 * dim, "relu"),
            layers.Dense(dim),
            layers.UnitNormalization(),
        ]
    )


class TwoTowers(keras.Model):
    """Towers and the in-batch softmax, with the correction for sampled items."""

    def __init__(self, users: int, items: int, dim: int):
        super().__init__()
        self.query, self.candidate = make_tower(users, dim), make_tower(items, dim)
        self.correction = keras_rs.layers.SamplingProbabilityCorrection()
        self.entropy = keras.losses.CategoricalCrossentropy(from_logits=True)

    def call(self, inputs):
        return self.query(inputs["user"]), self.candidate(inputs["item"])

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        query, candidate = y_pred
        logits = ops.matmul(query, ops.transpose(candidate)) / TEMPERATURE
        logits = self.correction(logits, x["probability"])
        return self.entropy(ops.eye(logits.shape[0]), logits)


class Ends(keras.callbacks.Callback):
    """Notes the ends of steps and ends the training."""

    def __init__(self, clock: Clock):
        super().__init__()
        self.clock = clock

    def on_train_batch_end(self, batch, logs=None):
        for value in (logs or {}).values():
            float(value)  # waits for the step
        self.model.stop_training = not self.clock.step()


def main() -> None:
    job, arrays = read_job()
    model = TwoTowers(int(arrays["users"]), int(arrays["items"]), job.dim)
    optimizer = keras.optimizers.Adagrad(RATE, initial_accumulator_value=ACCUMULATOR)
    model.compile(optimizer=optimizer)
    clock = Clock(job.seconds)
    data = ((rows,) for rows in batches(arrays, job.batch))
    fit(model, data, Ends(clock), job)
    clock.print()


if __name__ == "__main__":
    main()
