"""Likeness: which pictures are the same, or nearly, told from a fingerprint of a few hundred bytes each.

A difference hash of 64 bits finds candidates; a small grey thumbnail confirms them, so that two different frames of one
table are not called the same picture. Brightness and contrast are taken out before thumbnails are compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HASH_BITS_APART = 8
"""Fingerprints that differ in more of their 64 bits are not compared any further."""

THUMBNAIL = 32
"""Height and width of the thumbnail, pixels."""

MOST_DIFFERENT = 0.10
"""Root mean square difference of two normalised thumbnails (standard deviation 1) up to which pictures are near-duplicates."""

MOST_COMPARED = 40_000
"""With more pictures than this only exact duplicates are looked for: comparing all pairs would take minutes."""

FLAT = 2.0
"""Thumbnails with a smaller standard deviation (0..255) show nothing that could be compared."""


@dataclass(frozen=True)
class Likeness:
    """Fingerprint of one picture."""

    digest: bytes
    """Equal for pictures whose decoded pixels are equal."""
    bits: int
    """Difference hash, 64 bits."""
    thumbnail: bytes
    """THUMBNAIL x THUMBNAIL grey values."""


def likeness(image: np.ndarray) -> Likeness:
    """Fingerprint of a picture.

    Args:
        image: (H, W, 3) uint8 RGB; a reduced decode will do, if it is always reduced alike.
    """
    import cv2

    digest = hashlib.blake2b(image.tobytes(), digest_size=16, key=str(image.shape).encode()).digest()
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")
    thumbnail = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return Likeness(digest, bits, thumbnail.tobytes())


def difference(a: Likeness, b: Likeness) -> float:
    """Root mean square difference of the two thumbnails after normalisation; infinite when one of them is flat."""
    one, other = _normalised(a), _normalised(b)
    if one is None or other is None:
        return float("inf")
    return float(np.sqrt(np.mean((one - other) ** 2)))


def same_pictures(likenesses: Sequence[Likeness]) -> list[list[int]]:
    """Positions of pictures that are exactly the same, as groups of two and more, in order of first appearance."""
    groups: dict[bytes, list[int]] = {}
    for position, item in enumerate(likenesses):
        groups.setdefault(item.digest, []).append(position)
    return [group for group in groups.values() if len(group) > 1]


def near_pairs(likenesses: Sequence[Likeness]) -> list[tuple[int, int]]:
    """Positions of pictures that are nearly but not exactly the same, each pair once, smaller position first."""
    firsts = list({item.digest: position for position, item in reversed(list(enumerate(likenesses)))}.values())
    firsts = sorted(firsts)
    if len(firsts) > MOST_COMPARED:
        return []
    bits = np.array([likenesses[p].bits for p in firsts], np.uint64)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(bits), 256):
        rows = bits[start : start + 256]
        close = np.bitwise_count(rows[:, None] ^ bits[None, start:]) <= HASH_BITS_APART
        for row, column in np.argwhere(close).tolist():
            if column > row:
                a, b = firsts[start + row], firsts[start + column]
                if difference(likenesses[a], likenesses[b]) <= MOST_DIFFERENT:
                    pairs.append((a, b))
    return pairs


def _normalised(item: Likeness) -> np.ndarray | None:
    grey = np.frombuffer(item.thumbnail, np.uint8).astype(np.float32)
    deviation = float(grey.std())
    return None if deviation < FLAT else (grey - grey.mean()) / deviation
