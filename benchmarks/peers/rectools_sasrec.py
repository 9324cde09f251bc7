"""Seconds per batch of RecTools' SASRec; `benchmarks/sequences.py` runs it.

It needs an environment with `rectools[torch]`, and nothing of this package.
"""

import json
import sys
import time

import numpy as np
import pandas as pd
from pytorch_lightning import Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel


def main(file: str, batch: int, batches: int) -> None:
    """Print the seconds of each batch but the first as JSON.

    Args:
      file: npz of arrays user and item, in the order of time.
      batch: sequences per batch.
      batches: number of batches.
    """
    arrays = np.load(file)
    frame = pd.DataFrame(
        {
            Columns.User: arrays["user"],
            Columns.Item: arrays["item"],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2020-01-01")
            + pd.to_timedelta(np.arange(len(arrays["user"])), unit="s"),
        }
    )
    ends: list[float] = []

    def trainer() -> Trainer:
        from pytorch_lightning.callbacks import LambdaCallback

        times = LambdaCallback(
            on_train_batch_end=lambda *_: ends.append(time.perf_counter()),
        )
        return Trainer(
            max_epochs=1,
            limit_train_batches=batches,
            callbacks=[times],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
        )

    seed_everything(0)
    model = SASRecModel(
        n_blocks=1,
        n_heads=1,
        n_factors=64,
        dropout_rate=0.2,
        session_max_len=50,
        loss="sampled_softmax",
        n_negatives=256,
        lr=1e-3,
        batch_size=batch,
        get_trainer_func=trainer,
    )
    model.fit(Dataset.construct(frame))
    print(json.dumps(np.diff(ends).tolist()))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
