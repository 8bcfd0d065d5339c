"""Programs for a model's card: Python, C++, the browser and trtexec, with the names and sizes of the file filled in."""

from __future__ import annotations

from pathlib import Path

from segwright.engines.contract import ModelFacts
from segwright.export.card_python import answer_of, python_program
from segwright.export.request import ExportRequest
from segwright.export.shapes import free_shape, usual_shapes
from segwright.export.trtexec import WORKSPACE, trtexec_commands

LOADED = """from pathlib import Path

import segwright

prediction = segwright.load("{file}").predict(segwright.read_image(Path("picture.jpg")))
"""

RUN = {
    "onnx": """session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
({kind},) = session.run(["{output}"], {{"{input}": pixels}})""",
    "openvino": """model = openvino.compile_model("{file}", "CPU"{exact})
{kind} = model({{"{input}": pixels}})["{output}"]""",
    "torch": """model = torch.export.load("{file}").module()  # runs what is pickled in the file: only for files you trust
{kind} = model(torch.from_numpy(pixels))[{place}].numpy()""",
}
LIBRARIES = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch"}

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

BROWSER = """<img id="picture" src="picture.jpg" hidden>
<script type="module">
  import * as ort from "./onnxruntime-web/dist/ort.webgpu.bundle.min.mjs";  // npm install onnxruntime-web
  const picture = document.getElementById("picture");
  await picture.decode();
  const {{ naturalWidth: width, naturalHeight: height }} = picture;
  const canvas = new OffscreenCanvas({width}, {height});
  const draw = canvas.getContext("2d", {{ willReadFrequently: true }});
  draw.fillRect(0, 0, {width}, {height});
{placing}  const rgba = draw.getImageData(0, 0, {width}, {height}).data;
  const pixels = new Uint8Array({count}).map((_, at) => rgba[{index}]);  // RGB{order}
  const session = await ort.InferenceSession.create("{file}", {{ executionProviders: ["webgpu", "wasm"] }});
  const answers = await session.run({{ {quoted}: new ort.Tensor("uint8", pixels, [{shape}]) }});
  console.log(answers.{output}.dims, answers.{output}.data);
</script>
"""

BROWSER_PLACING = {
    "tile": "  draw.drawImage(picture, 0, 0);  // one tile of it\n",
    "pad": "  const scale = Math.min({width} / {across}, {height} / {down});\n",
    "stretch": "  const [scaleX, scaleY] = [{width} / {across}, {height} / {down}];\n",
}

BROWSER_DRAWN = """  draw.translate({width} / 2, {height} / 2);
  draw.scale({scales});
{turn}  draw.drawImage(picture, -width / 2, -height / 2);
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
    kind = answer_of(facts)
    first = interface.layout == "nchw"
    batch = interface.batch or 1
    sides = f"{batch}, 3, {height}, {width}" if first else f"{batch}, {height}, {width}, 3"
    one = "at" if batch == 1 else f"(at % {height * width * 3})"
    found = {
        "file": out.name,
        "input": interface.input_name,
        "quoted": f'"{interface.input_name}"',
        "kind": kind,
        "output": interface.outputs[kind],
        "place": list(interface.outputs).index(kind),
        "shape": sides,
        "width": width,
        "height": height,
        "count": batch * height * width * 3,
        "index": f"{one} % {height * width} * 4 + Math.floor({one} / {height * width})"
        if first
        else f"Math.floor({one} / 3) * 4 + {one} % 3",
        "order": ", channels first" if first else "",
        "ctype": "uint8_t" if kind == "classes" else "float",
        "placing": _browser_placing(facts),
        # By itself OpenVINO computes in bfloat16 where the processor has it, and the proof was in FP32.
        "exact": ', {"INFERENCE_PRECISION_HINT": "f32"}' if facts.precision == "fp32" else "",
    }
    lines = []
    if request.to != "torch":
        lines += [
            "Python, with everything around the network done for you:",
            "",
            *_block("python", LOADED.format(file=out.name)),
        ]
    if request.to in RUN:
        program = python_program(facts, LIBRARIES[request.to], RUN[request.to].format(**found))
        lines += ["Python, without segwright, with the same answer:", "", *_block("python", program)]
    if request.to != "onnx":
        return lines
    lines += ["C++, for pixels that were turned and placed as above (not compiled by segwright's own tests):", ""]
    lines += [*_block("cpp", CPP.format(**found)), "Browser, where a canvas turns and places a little differently:", ""]
    lines += [*_block("html", BROWSER.format(**found))]
    return [*lines, "TensorRT:", "", *_block("bash", trtexec(out, facts))]


def _browser_placing(facts: ModelFacts) -> str:
    """Lines that draw a picture into the network's size, turned where it lies across."""
    height, width = facts.size_hw
    if facts.tiled:
        return BROWSER_PLACING["tile"]
    turns = facts.turn and height != width
    lies = "width > height" if height > width else "height > width"
    words = {"height": height, "width": width, "across": "width", "down": "height", "turn": ""}
    lines = ""
    if turns:
        lines = f"  const across = {lies};\n"
        words |= {"across": "(across ? height : width)", "down": "(across ? width : height)"}
        words["turn"] = "  if (across) draw.rotate(-Math.PI / 2);\n"
    words["scales"] = "scale, scale" if facts.fit == "pad" else "scaleX, scaleY"
    return lines + BROWSER_PLACING[facts.fit].format(**words) + BROWSER_DRAWN.format(**words)


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
