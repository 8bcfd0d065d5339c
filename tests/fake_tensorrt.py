"""A TensorRT for tests: the part of its Python interface that segwright uses, with ONNX Runtime computing on the CPU.

Its "engine" is the ONNX file itself behind a few bytes. It is as strict as the real one where that has bitten people: a
network of version 10 that was not asked to be strongly typed, a shape out of range or a tensor without an address is an
error here too. What version 11 no longer has is absent.
"""

from __future__ import annotations

import ctypes
import enum
import types
from typing import Any

import numpy as np

MAGIC = b"fake"


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class ILogger:
    Severity = Severity

    def log(self, severity: Any, message: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    pass


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    UINT8 = 6
    INT64 = 8


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


TYPES = {
    "tensor(float)": (DataType.FLOAT, np.float32),
    "tensor(float16)": (DataType.HALF, np.float16),
    "tensor(uint8)": (DataType.UINT8, np.uint8),
}


class Memory:
    """IHostMemory: bytes behind the buffer protocol."""

    def __new__(cls, data: bytes) -> Any:
        return memoryview(data)


class Timings:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> Any:
        return Memory(b"timings of " + self.content.removeprefix(b"timings of "))


class Config:
    def __init__(self, trt: Any) -> None:
        self.trt = trt
        self.progress_monitor: Any = None
        self.pools: dict[Any, int] = {}
        self.profiles: list[Any] = []
        self.timings: Timings | None = None

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
        self.pools[pool] = size

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return 0

    def create_timing_cache(self, content: bytes) -> Timings | None:
        return None if content == b"damaged" else Timings(content or b"this GPU")

    def set_timing_cache(self, timings: Timings, ignore_mismatch: bool) -> bool:
        if b"other" in timings.content and not ignore_mismatch:
            return False
        self.timings = timings
        return True


class Profile:
    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self.name, self.shapes = name, shapes


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self.logger = logger
        self.trt: Any = None

    def create_network(self, flags: int = 0) -> Any:
        return types.SimpleNamespace(flags=flags, data=b"")

    def create_builder_config(self) -> Config:
        config = Config(self.trt)
        self.trt.configs.append(config)
        return config

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Any, config: Config) -> Any:
        if self.trt.__version__.startswith("10.") and not network.flags & 2:
            self.logger.log(Severity.ERROR, "weakly typed networks would choose precisions by themselves")
            return None
        if self.trt.fails_with:
            self.logger.log(Severity.ERROR, self.trt.fails_with)
            return None
        monitor = config.progress_monitor
        monitor.phase_start("Building engine", None, 2)
        monitor.phase_start("Timing tactics", "Building engine", 2)
        for step in range(2):
            self.trt.at_each_step()
            if not monitor.step_complete("Timing tactics", step):
                self.logger.log(Severity.ERROR, "BuildCanceled")
                return None
        monitor.phase_finish("Timing tactics")
        monitor.phase_finish("Building engine")
        import json

        profile = json.dumps({profile.name: profile.shapes for profile in config.profiles}).encode()
        return Memory(MAGIC + len(profile).to_bytes(4, "big") + profile + network.data)


class ParserError:
    def __init__(self, operator: str, name: str) -> None:
        self._operator, self._name = operator, name

    def node_operator(self) -> str:
        return self._operator

    def node_name(self) -> str:
        return self._name

    def desc(self) -> str:
        return "false"


class OnnxParser:
    REFUSED = frozenset({"Det"})

    def __init__(self, network: Any, logger: ILogger) -> None:
        self.network = network
        self.errors: list[ParserError] = []

    def parse(self, data: bytes) -> bool:
        import onnx

        nodes = onnx.load_model_from_string(data).graph.node
        self.errors = [ParserError(node.op_type, node.name) for node in nodes if node.op_type in self.REFUSED]
        self.network.data = data
        return not self.errors

    @property
    def num_errors(self) -> int:
        return len(self.errors)

    def get_error(self, number: int) -> ParserError:
        return self.errors[number]


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self.engine.get_tensor_profile_shape(name, 0)
        if not all(low <= side <= high for low, side, high in zip(least, shape, most, strict=True)):
            raise RuntimeError(f"{shape} is out of the profile")
        self.shape = shape
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._run(np.zeros(self.shape, self._dtype))[name].shape)

    @property
    def _dtype(self) -> Any:
        (given,) = self.engine.inputs.values()
        return TYPES[given.type][1]

    def _run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        names, (given,) = list(self.engine.outputs), self.engine.inputs
        return dict(zip(names, self.engine.session.run(names, {given: pixels}), strict=True))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        (given,) = self.engine.inputs
        size = int(np.prod(self.shape)) * np.dtype(self._dtype).itemsize
        data = ctypes.string_at(self.addresses[given], size)
        for name, answer in self._run(np.frombuffer(data, self._dtype).reshape(self.shape)).items():
            ctypes.memmove(self.addresses[name], np.ascontiguousarray(answer).ctypes.data, answer.nbytes)
        return bool(self.engine.works)


class Engine:
    works = True

    def __init__(self, data: bytes) -> None:
        import json

        import onnxruntime

        length = int.from_bytes(data[4:8], "big")
        self.profile = json.loads(data[8 : 8 + length])
        self.session = onnxruntime.InferenceSession(data[8 + length :], providers=["CPUExecutionProvider"])
        self.inputs = {value.name: value for value in self.session.get_inputs()}
        self.outputs = {value.name: value for value in self.session.get_outputs()}
        self.values = {**self.inputs, **self.outputs}

    @property
    def num_io_tensors(self) -> int:
        return len(self.values)

    def get_tensor_name(self, number: int) -> str:
        return list(self.values)[number]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return TYPES[self.values[name].type][0]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(-1 if isinstance(side, str) else side for side in self.values[name].shape)

    def get_tensor_profile_shape(self, name: str, number: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self.profile[name]]

    def create_execution_context(self) -> Context:
        return Context(self)


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
        if not data.startswith(MAGIC):
            self.logger.log(Severity.ERROR, "Magic tag does not match (In deserialize at /_src/x.cpp:1)")
            return None
        return Engine(data)


def fake_tensorrt(version: str = "11.4.0.106") -> Any:
    """The module; `configs`, `fails_with` and `at_each_step` are for tests.

    Args:
        version: what it says it is.
    """
    trt: Any = types.ModuleType("tensorrt")
    trt.__version__ = version
    trt.configs, trt.fails_with, trt.at_each_step = [], "", lambda: None

    def builder(logger: ILogger) -> Builder:
        made = Builder(logger)
        made.trt = trt
        return made

    trt.Builder = builder
    for thing in (
        ILogger, IProgressMonitor, DataType, TensorIOMode, MemoryPoolType, NetworkDefinitionCreationFlag, OnnxParser, Runtime,
    ):  # fmt: skip
        setattr(trt, thing.__name__, thing)
    return trt
