"""What all tests share: the real data beside the repository, and one thread."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads on a busy machine of two cores are slower than one

ROOT = Path(__file__).resolve().parents[1]
# A busy machine is no failure, and the same commit should always get the same verdict.
settings.register_profile("segwright", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("segwright")

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # so that `from tests.tiny import make_dataset` works however pytest is started


def pytest_configure() -> None:
    """Continuous integration sets SEGWRIGHT_NO_SKIPS: there, a test left out for want of a library is a failure."""
    if os.environ.get("SEGWRIGHT_NO_SKIPS"):
        wanted = (
            "av",
            "imagecodecs",
            "nncf",
            "onnx",
            "onnxruntime",
            "onnxscript",
            "onnxslim",
            "openvino",
            "pygame",
            "ray",
            "tensorrt_rtx",
            "tifffile",
        )
        missing = [name for name in wanted if not importlib.util.find_spec(name)]
        if missing:
            raise pytest.UsageError(f"SEGWRIGHT_NO_SKIPS is set, but these are not installed: {', '.join(missing)}")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of small real data sets that lies beside the repository on development machines."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not at {folder}")
    return folder
