"""Seconds per step of two towers in TensorFlow Recommenders, by `model.fit`.

`peer_training` describes the job.
"""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras as keras
from peer_training import (
    ACCUMULATOR,
    RATE,
    TEMPERATURE,
    Clock,
    fit,
    read_job,
    rows_of,
)


class Tower(keras.Model):
    """Table, hidden layer and a unit vector; the table is pooled over a history."""

    def __init__(self, rows: int, dim: int, pooled: bool = False):
        super().__init__()
        self.pooled = pooled
        self.table = keras.layers.Embedding(rows + pooled, dim)
        self.hidden = keras.layers.Dense(2 * dim, "relu")
        self.last = keras.layers.Dense(dim)

    def call(self, ids):
        if self.pooled:
            kept = tf.cast(ids >= 0, tf.float32)[:, :, None]
            vectors = self.table(tf.maximum(ids, 0)) * kept
            number = tf.maximum(tf.reduce_sum(kept, 1), 1.0)
            vectors = tf.reduce_sum(vectors, 1) / number
        else:
            vectors = self.table(ids)
        return tf.math.l2_normalize(self.last(self.hidden(vectors)), axis=-1)


class TwoTowers(tfrs.Model):
    """Towers and the retrieval task, with the correction for sampled items."""

    def __init__(self, query: Tower, candidate: Tower, feature: str):
        super().__init__()
        self.query, self.candidate, self.feature = query, candidate, feature
        loss = keras.losses.CategoricalCrossentropy(
            from_logits=True, reduction="sum_over_batch_size"
        )
        self.task = tfrs.tasks.Retrieval(loss=loss, temperature=TEMPERATURE)

    def compute_loss(self, inputs, training=False):
        return self.task(
            self.query(inputs[self.feature]),
            self.candidate(inputs["item"]),
            candidate_sampling_probability=inputs["probability"],
            compute_metrics=False,
            compute_batch_metrics=False,
        )


class Ends(keras.callbacks.Callback):
    """Notes the ends of steps and ends the training."""

    def __init__(self, clock: Clock):
        super().__init__()
        self.clock = clock

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = not self.clock.step()


def main() -> None:
    job, arrays = read_job()
    users, items = int(arrays["users"]), int(arrays["items"])
    feature = "history" if "history" in arrays else "user"
    pooled = feature == "history"
    query = Tower(items if pooled else users, job.dim, pooled)
    model = TwoTowers(query, Tower(items, job.dim), feature)
    model.compile(
        optimizer=keras.optimizers.Adagrad(RATE, initial_accumulator_value=ACCUMULATOR)
    )
    rows = rows_of(arrays)
    rows = {name: np.asarray(rows[name]) for name in (feature, "item", "probability")}
    data = tf.data.Dataset.from_tensor_slices(rows).repeat()
    data = data.batch(job.batch, drop_remainder=True).prefetch(4)
    clock = Clock(job.seconds)
    fit(model, data, Ends(clock), job)
    clock.print()


if __name__ == "__main__":
    main()
