"""How many devices and machines train together: what Lightning is told, and what can be refused before anything starts."""

from __future__ import annotations

import os
from typing import Any, TypeVar

import torch
from torch import distributed

from segwright.errors import RecipeError
from segwright.machine import cores_here
from segwright.recipe import Recipe

PRECISION: dict[str, Any] = {"fp16": "16-mixed", "bf16": "bf16-mixed", "fp32": "32-true"}
"""Lightning's names; on a CPU the segmenter opens its own context, which can leave grouped convolutions in FP32."""

Value = TypeVar("Value")


def of_all_processes(mine: Value) -> list[Value]:
    """What every process holds, by their numbers; each of them must ask. A process alone has only its own."""
    if not distributed.is_available() or not distributed.is_initialized():
        return [mine]
    everybodys: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(everybodys, mine)
    return everybodys


def chosen_device(recipe: Recipe) -> str:
    """Where to compute, "cpu" or "cuda".

    Raises:
        RecipeError: CUDA was asked for and is not there.
    """
    if recipe.run.device == "cuda" and not torch.cuda.is_available():
        raise RecipeError("--device cuda was asked for, but PyTorch sees no CUDA GPU here; use --device cpu or auto.")
    return "cuda" if recipe.run.device != "cpu" and torch.cuda.is_available() else "cpu"


def world_of(recipe: Recipe, device: str) -> int:
    """Processes that train together, over all machines.

    Raises:
        RecipeError: more GPUs than there are, a strategy that the device does not know, machines that nobody joins, or
            a launcher that started another number of processes.
    """
    run = recipe.run
    there = torch.cuda.device_count() if device == "cuda" else 0
    if device == "cuda" and run.devices > there:
        raise RecipeError(f"--devices {run.devices} was asked for, but PyTorch sees {there} GPUs here.")
    if run.strategy == "fsdp" and device == "cpu":
        raise RecipeError("--strategy fsdp shares a network out over GPUs; on a CPU use --strategy ddp.")
    if run.strategy == "fsdp" and recipe.fit.ema:
        raise RecipeError("--ema needs the whole weights on every device; use --strategy ddp, or --ema 0.")
    devices = max(there, 1) if run.devices == -1 else run.devices
    world = devices * run.nodes
    if world > 1 and recipe.fit.lr == "auto":
        raise RecipeError("--lr auto looks for a rate on one device; find it with --devices 1, then give the number.")
    launched = int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1")))
    by_hand = "TORCHELASTIC_RUN_ID" in os.environ or "SLURM_NTASKS" in os.environ
    if by_hand and launched > 1 and launched != world:
        raise RecipeError(
            f"{launched} processes were started, but --devices {devices} times --nodes {run.nodes} are {world}; "
            "make both say the same."
        )
    if run.nodes > 1 and not by_hand and "MASTER_ADDR" not in os.environ:
        raise RecipeError(
            f"--nodes {run.nodes} needs a launcher that joins the machines: start this command on each with torchrun or srun "
            "(docs/machines.md shows how)."
        )
    return world


def share_cores(world: int, nodes: int) -> None:
    """Give each process of a CPU training its share of the cores; all of them at once would only wait for each other."""
    here = max(world // nodes, 1)
    if here > 1 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(cores_here() // here, 1))


def trainer_settings(recipe: Recipe, device: str, world: int, precision: str) -> dict[str, Any]:
    """What Lightning's Trainer is told about devices, processes and numbers.

    Args:
        recipe: its `run` part.
        device: "cpu" or "cuda".
        world: from `world_of`.
        precision: "fp32", "fp16" or "bf16".
    """
    settings: dict[str, Any] = {
        "accelerator": "gpu" if device == "cuda" else "cpu",
        "devices": world // recipe.run.nodes,
        "num_nodes": recipe.run.nodes,
        "precision": PRECISION[precision] if device == "cuda" else "32-true",
        "accumulate_grad_batches": recipe.fit.accumulate,
        # The order deals its batches out itself; Lightning's sampler would deal out what is dealt out already.
        "use_distributed_sampler": False,
    }
    if world == 1:
        return settings
    if recipe.run.strategy == "fsdp":
        from lightning.pytorch.strategies import FSDPStrategy

        return settings | {"strategy": FSDPStrategy(state_dict_type="full")}
    from lightning.pytorch.strategies import DDPStrategy

    # Some networks leave a part of their encoder unused (PSPNet), which plain DDP waits for until it fails.
    strategy = DDPStrategy(find_unused_parameters=True, process_group_backend="nccl" if device == "cuda" else "gloo")
    # Few pictures on each GPU make poor statistics; PyTorch joins those of all GPUs, but not of CPU processes.
    return settings | {"strategy": strategy, "sync_batchnorm": device == "cuda"}
