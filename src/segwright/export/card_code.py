"""Programs for a model's card: Python, C++, the browser and trtexec, with the names and sizes of the file filled in."""

from __future__ import annotations

from pathlib import Path

from segwright.engines.contract import ModelFacts
from segwright.export.request import ExportRequest
from segwright.export.shapes import free_shape, usual_shapes
from segwright.export.trtexec import WORKSPACE, trtexec_commands

LOADED = """from pathlib import Path

import segwright

prediction = segwright.load("{file}").predict(segwright.read_image(Path("picture.jpg")))
"""

READ = """image = Image.open("picture.jpg").convert("RGB")
{placing}pixels = np.asarray(image)[None]{layout}
"""

PLACING = {
    "any": "",
    "stretch": "image = image.resize(({width}, {height}), Image.Resampling.BILINEAR)\n",
    "pad": "image = ImageOps.pad(image, ({width}, {height}), Image.Resampling.BILINEAR)\n",
}

ONNX = """import numpy as np
import onnxruntime
from PIL import Image, ImageOps

{read}session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
({kind},) = session.run(["{output}"], {{"{input}": pixels}})
{result}"""

OPENVINO = """import numpy as np
import openvino
from PIL import Image, ImageOps

{read}model = openvino.compile_model("{file}", "CPU")
{kind} = model({{"{input}": pixels}})["{output}"]
{result}"""

TORCH = """import numpy as np
import torch
from PIL import Image, ImageOps

{read}model = torch.export.load("{file}").module()  # runs what is pickled in the file: only for files you trust
{kind} = model(torch.from_numpy(pixels))[{place}].numpy()
{result}"""

CPP = """#include <onnxruntime_cxx_api.h>
#include <cstdint>
#include <vector>

int main() {{
  Ort::Env env;
  Ort::Session session(env, ORT_TSTR("{file}"), Ort::SessionOptions{{}});
  std::vector<int64_t> shape{{{shape}}};
  std::vector<uint8_t> pixels({count});  // RGB{order}, 0..255
  auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  auto input = Ort::Value::CreateTensor<uint8_t>(memory, pixels.data(), pixels.size(), shape.data(), shape.size());
  const char* in[] = {{"{input}"}};
  const char* out[] = {{"{output}"}};
  auto answers = session.Run(Ort::RunOptions{{}}, in, &input, 1, out, 1);
  const {ctype}* {kind} = answers[0].GetTensorData<{ctype}>();
  return {kind} == nullptr;
}}
"""

BROWSER = """<script type="module">
  import * as ort from "./onnxruntime-web/dist/ort.webgpu.min.mjs";  // npm install onnxruntime-web
  const session = await ort.InferenceSession.create("{file}", {{ executionProviders: ["webgpu", "wasm"] }});
  const pixels = new Uint8Array({count});  // RGB{order}, from a canvas without its alpha channel
  const answers = await session.run({{ {quoted}: new ort.Tensor("uint8", pixels, [{shape}]) }});
  console.log(answers.{output}.data);
</script>
"""


def examples(out: Path, facts: ModelFacts, request: ExportRequest) -> list[str]:
    """How to run a file, as lines of Markdown.

    Args:
        out: the finished file.
        facts: what it says about itself.
        request: what was asked for.
    """
    interface = facts.interface
    height, width = facts.size_hw
    kind = next(iter(interface.outputs))
    first = interface.layout == "nchw"
    batch = interface.batch or 1
    sides = f"{batch}, 3, {height}, {width}" if first else f"{batch}, {height}, {width}, 3"
    placing = PLACING["any" if facts.any_size else facts.fit].format(width=width, height=height)
    layout = ".transpose(0, 3, 1, 2).copy()" if first else ""
    repeated = f".repeat({batch}, axis=0)" if batch > 1 else ""
    found = {
        "file": out.name,
        "input": interface.input_name,
        "quoted": f'"{interface.input_name}"',
        "kind": kind,
        "output": interface.outputs[kind],
        "place": 0,
        "read": READ.format(placing=placing, layout=repeated + layout),
        "result": f"print({kind}.shape, {kind}.min(), {kind}.max())\n",
        "shape": sides,
        "count": batch * height * width * 3,
        "order": ", channels first" if first else "",
        "ctype": "uint8_t" if kind == "classes" else "float",
    }
    lines = ["Python, with everything around the network done for you:", ""]
    if request.to == "torch":
        lines = []
    else:
        lines += _block(
            "python",
            LOADED.format(file=out.name),
        )
    template = {"onnx": ONNX, "openvino": OPENVINO, "torch": TORCH}.get(request.to)
    if template:
        lines += ["Python, without segwright:", "", *_block("python", template.format(**found))]
    if request.to != "onnx":
        return lines
    lines += ["C++:", "", *_block("cpp", CPP.format(**found)), "Browser:", "", *_block("html", BROWSER.format(**found))]
    return [*lines, "TensorRT:", "", *_block("bash", trtexec(out, facts))]


def trtexec(out: Path, facts: ModelFacts) -> str:
    """The commands that make a TensorRT engine of a file, by version; of an any-size file, for pictures of the network's size."""
    free = free_shape(facts)
    shapes = usual_shapes(free, facts) if None in free else None
    commands = trtexec_commands(
        out.name, f"{out.stem}.engine", shapes=shapes, precision=facts.precision, workspace=WORKSPACE
    )
    return "".join(f"{command}  # TensorRT {major}\n" for major, command in commands.items())


def _block(language: str, code: str) -> list[str]:
    return [f"```{language}", *code.rstrip().splitlines(), "```", ""]
