"""Gradients of a run's loss at the weights it begins with: what pruning by Taylor expansion asks for."""

from __future__ import annotations

from itertools import islice

import torch
from lightning.fabric.utilities.apply_func import move_data_to_device

from segwright.training.losses import batch_loss
from segwright.training.lr_finder import trial_batches
from segwright.training.prepare import Prepared

PICTURES = 64
"""Training pictures that are looked at."""


def loss_gradients(prepared: Prepared, *, pictures: int = PICTURES) -> dict[str, torch.Tensor]:
    """Sum over training batches, in evaluation mode and float32, by parameter and on the CPU.

    Args:
        prepared: a run that is ready to begin; its network is left as it is.
        pictures: training pictures to look at.
    """
    segmenter = prepared.segmenter
    network, pairs = segmenter.network, segmenter.pairs
    was_training = network.training
    network.eval()
    network.zero_grad(set_to_none=True)
    for batch in islice(trial_batches(prepared.recipe, pairs), max(pictures // pairs.batch_size, 1)):
        moved = move_data_to_device(batch, pairs.device)
        loss = batch_loss(segmenter.loss, network(moved.images).float(), moved)
        loss.backward()  # type: ignore[no-untyped-call]
    found = {name: p.grad.detach().cpu() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=True)
    network.train(was_training)
    return found
