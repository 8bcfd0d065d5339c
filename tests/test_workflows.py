"""Which pictures a journey takes."""

from __future__ import annotations

import shutil
from pathlib import Path

from segwright.workflows.choosing import proof_samples
from tests.tiny import make_dataset


def test_an_export_is_proven_on_pictures_without_masks_where_there_are_no_others(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", size_hw=(32, 32))
    masked, _ = proof_samples(data)
    assert masked
    assert all(sample.mask is not None for sample in masked)
    bare = tmp_path / "bare"
    shutil.copytree(masked[0].image.parent, bare)
    samples, _ = proof_samples(bare)
    assert len(samples) == len(list(bare.iterdir()))
    assert all(sample.mask is None for sample in samples)
