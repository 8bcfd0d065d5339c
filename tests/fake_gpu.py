"""A machine with a GPU and a TensorRT, both pretended: what runs "on the GPU" runs on the CPU."""

from __future__ import annotations

import contextlib
import sys
import types
from typing import Any

import pytest
import torch

from segwright.engines import tensorrt as engine_module
from tests.fake_tensorrt import fake_tensorrt


def pretend_gpu(monkeypatch: pytest.MonkeyPatch, version: str = "11.4.0.106") -> Any:
    """Put the fakes in place; returns the fake TensorRT."""
    trt = fake_tensorrt(version)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Pretended GPU")
    monkeypatch.setattr(torch.cuda, "Stream", lambda: types.SimpleNamespace(cuda_stream=0))
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(engine_module, "DEVICE", "cpu")
    return trt


def absent(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Make modules look as if they were not installed."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
