"""The Python program of a model's card: what `segwright.load` does around a network, in NumPy and Pillow alone.

It turns, places and reads back as `preprocess.py` does, with the same weights, so that its answer is that of the certificate.
"""

from __future__ import annotations

from segwright.engines.contract import ModelFacts
from segwright.engines.interface import Kind

IMPORTS = """import numpy as np
{library}
from PIL import Image, ImageOps
"""

WEIGHTS = """

def weights(count, length, scale, margin, low=-np.inf, high=np.inf):
    \"\"\"How much each of `length` pixels counts in each of `count` others: triangles, as wide as pixels are merged.\"\"\"
    centres = ((np.arange(count) + 0.5 - margin) / scale).clip(low, high)
    inside = ((centres >= 0) & (centres <= length))[:, None]
    shares = (1 - np.abs(np.arange(length) + 0.5 - centres[:, None]) * min(scale, 1)).clip(0) * inside
    return (shares / shares.sum(axis=1, keepdims=True).clip(1e-6)).astype(np.float32)

"""

OPEN = """
picture = np.asarray(ImageOps.exif_transpose(Image.open("picture.jpg")).convert("RGB"))
"""

OPEN_TILE = """
# One tile of a picture; segwright.load cuts a whole one into tiles that overlap, and blends the answers.
picture = np.asarray(Image.open("picture.jpg").convert("RGB").crop((0, 0, {width}, {height})))
"""

TURN = """across = picture.shape[{long}] > picture.shape[{short}]
if across:
    picture = np.rot90(picture)
"""

PLACE = """height, width = picture.shape[:2]
{scales}
margin_y, margin_x = ({height} - scale_y * height) / 2, ({width} - scale_x * width) / 2
rows, columns = weights({height}, height, scale_y, margin_y), weights({width}, width, scale_x, margin_x)
placed = np.stack([rows @ picture[..., colour].astype(np.float32) @ columns.T for colour in range(3)], axis=-1)
pixels = (placed + 0.501).astype(np.uint8)[None]{layout}
"""

SCALES = {
    "pad": "scale_y = scale_x = min({height} / height, {width} / width)",
    "stretch": "scale_y, scale_x = {height} / height, {width} / width",
}

READY = """pixels = np.ascontiguousarray(picture)[None]{layout}
"""

BACK = """
rows = weights(height, {height}, 1 / scale_y, -margin_y / scale_y, margin_y + 0.5, {height} - margin_y - 0.5)
columns = weights(width, {width}, 1 / scale_x, -margin_x / scale_x, margin_x + 0.5, {width} - margin_x - 0.5)
maps = rows @ maps @ columns.T
"""

MAPS: dict[Kind, tuple[str, str]] = {
    "probabilities": ("maps = probabilities[0]  # (channels, height, width), 0..1\n",) * 2,
    "logits": (
        "maps = 1 / (1 + np.exp(-logits[0]))\n",
        "maps = np.exp(logits[0] - logits[0].max(axis=0))\nmaps /= maps.sum(axis=0)\n",
    ),
    "classes": (
        "maps = (classes == 1).astype(np.float32)\n",
        "maps = (classes[0] == np.arange({classes})[:, None, None]).astype(np.float32)\n",
    ),
}
"""Of each output, of two classes and of more, what is read back to the picture's size."""

SAVE = """{back}Image.fromarray(class_map).save("class_map.png")
print(np.bincount(class_map.ravel(), minlength={classes}), "pixels of each class")
"""


def python_program(facts: ModelFacts, library: str, run: str) -> str:
    """A whole program: reads picture.jpg, writes class_map.png.

    Args:
        facts: those of the file.
        library: what runs the network, as it is imported.
        run: lines that make an array called like the output that `answer_of` names, from `pixels`.

    Returns:
        Python.
    """
    height, width = facts.size_hw
    sizes = {"height": height, "width": width, "classes": len(facts.classes)}
    placed = not facts.any_size and not facts.tiled
    turns = facts.turn and not facts.tiled and height != width
    kind = answer_of(facts)
    layout = f".repeat({facts.interface.batch}, axis=0)" if facts.interface.batch > 1 else ""
    if facts.interface.layout == "nchw":
        layout += ".transpose(0, 3, 1, 2).copy()"
    parts = [IMPORTS.format(library=f"import {library}"), WEIGHTS if placed else ""]
    parts.append((OPEN_TILE if facts.tiled else OPEN).format(**sizes))
    if turns:
        parts.append(TURN.format(long=int(height > width), short=int(height < width)))
    if placed:
        parts.append(PLACE.format(scales=SCALES[facts.fit].format(**sizes), layout=layout, **sizes))
    else:
        parts.append(READY.format(layout=layout))
    parts.append(f"\n{run}\n")
    if kind == "classes" and not placed:
        parts.append("class_map = classes[0]\n")
    else:
        two = facts.classes.channels == 1
        parts.append(MAPS[kind][0 if two else 1].format(**sizes))
        parts.append(BACK.format(**sizes) if placed else "")
        decided = f"(maps[0] >= {facts.threshold:g})" if two else "maps.argmax(axis=0)"
        parts.append(f"class_map = {decided}.astype(np.uint8)\n")
    turned_back = "if across:\n    class_map = np.rot90(class_map, -1)\n" if turns else ""
    return "".join([*parts, SAVE.format(back=turned_back, **sizes)])


def answer_of(facts: ModelFacts) -> Kind:
    """The output a program reads: where pictures were placed, maps have to be read back before they are decided."""
    outputs = facts.interface.outputs
    if "classes" in outputs and (facts.any_size or facts.tiled):
        return "classes"
    return facts.interface.telling
