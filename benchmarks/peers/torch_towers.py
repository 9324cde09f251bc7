"""Seconds per step of two towers in PyTorch, as `peer_training` describes.

Tables have sparse gradients and sparse Adagrad; the loss is compiled by `torch.compile`
or eager.
"""

import numpy as np
import torch
from peer_training import ACCUMULATOR, RATE, TEMPERATURE, Clock, batches, read_job
from torch import nn
from torch.nn import functional


class Tower(nn.Module):
    """Table, hidden layer and a unit vector; the table is pooled over a history."""

    def __init__(self, rows: int, dim: int, pooled: bool = False):
        super().__init__()
        if pooled:
            self.table = nn.EmbeddingBag(
                rows + 1, dim, mode="mean", sparse=True, padding_idx=rows
            )
        else:
            self.table = nn.Embedding(rows, dim, sparse=True)
        nn.init.uniform_(self.table.weight, -0.05, 0.05)
        self.layers = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim)
        )

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return functional.normalize(self.layers(self.table(ids)), dim=-1)


def in_batch_loss(
    query: torch.Tensor,
    candidate: torch.Tensor,
    log_q: torch.Tensor,
    hard: torch.Tensor | None,
) -> torch.Tensor:
    """Return the softmax over the items of the batch and the hard ones of the row."""
    logits = query @ candidate.T / TEMPERATURE - log_q
    if hard is not None:
        scores = (query[:, None] * hard).sum(-1) / TEMPERATURE
        logits = torch.cat([logits, scores], 1)
    return functional.cross_entropy(logits, torch.arange(len(query)))


def main() -> None:
    job, arrays = read_job()
    torch.manual_seed(0)
    users, items = int(arrays["users"]), int(arrays["items"])
    history, hard = "history" in arrays, "hard" in arrays
    query = Tower(items if history else users, job.dim, history)
    candidate = Tower(items, job.dim)
    if history:  # the place of the padding
        arrays["history"] = np.where(arrays["history"] < 0, items, arrays["history"])
    optimizer = torch.optim.Adagrad(
        [*query.parameters(), *candidate.parameters()],
        lr=RATE,
        initial_accumulator_value=ACCUMULATOR,
    )
    loss_of = torch.compile(in_batch_loss) if job.compiled else in_batch_loss
    clock = Clock(job.seconds)
    for batch in batches(arrays, job.batch):
        rows = {name: torch.from_numpy(x) for name, x in batch.items()}
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(
            query(rows["history"] if history else rows["user"]),
            candidate(rows["item"]),
            torch.log(rows["probability"]),
            candidate(rows["hard"]) if hard else None,
        )
        loss.backward()
        optimizer.step()
        if not clock.step():
            break
    clock.print()


if __name__ == "__main__":
    main()
