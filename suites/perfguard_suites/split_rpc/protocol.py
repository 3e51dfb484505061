"""What the trusted process may ask of the server, and how an operation is written in a message's method.

An operation repeats in every pass with the same words, so it is the method itself and not attributes: both ends of a
channel remember the packed bodies of messages without attributes. `batch_linear/3/q_proj,k_proj,v_proj`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.errors import UnknownOperation
from perfguard_suites.split_rpc.weights import MODULES, head_weight, module_weight

# Control messages: not part of a pass, counted apart.
HEALTH = "health"
START = "start"
LEDGER = "ledger"
SHARE = "share"
STOP = "stop"
CONTROL = (HEALTH, START, LEDGER, SHARE, STOP)

# The server's stamps of one operation, int64: when it was ready for the request, had its tensors on the device, had
# computed, had the results on the host in the wire's type, had sent them.
LEDGER_COLUMNS = ("request_id", "ready_ns", "taken_ns", "computed_ns", "converted_ns", "sent_ns")
# What a server that is started for it can be asked to do wrong.
FAULTS = ("none", "wrong-shape", "wrong-dtype", "wrong-id", "extra-tensor", "lie", "die", "stall")

# Operations of a pass, each with the words that follow its name.
EMBEDDING = "embedding"  # dtype of the reply
LM_HEAD = "lm_head"
BATCH_LINEAR = "batch_linear"  # layer, modules
MASKED_LINEAR = "masked_linear"  # layer, modules
MASKED_HEAD = "masked_head"
MATMUL_SCORES = "matmul_scores"  # rows per block of the result, 0: dense
MATMUL_VALUES = "matmul_values"  # rows per block of the weights
QKV_SCORES = "qkv_scores"  # layer, rows, "resident" or "values"
RESIDENT_VALUES = "resident_values"  # layer, rows, keys
VALUES_OUTPUT = "values_output"  # layer, rows, keys
WHOLE_LAYER = "whole_layer"  # layer
RELAY = "relay"  # rows of a product that is dropped, elements of each of so many tensors of the reply; in no pass
OPERATIONS = (
    RELAY,
    EMBEDDING,
    LM_HEAD,
    BATCH_LINEAR,
    MASKED_LINEAR,
    MASKED_HEAD,
    MATMUL_SCORES,
    MATMUL_VALUES,
    QKV_SCORES,
    RESIDENT_VALUES,
    VALUES_OUTPUT,
    WHOLE_LAYER,
)
MAX_RELAYED = 8
# Modules that share an input, and so a call.
GROUPS = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))
_LAYERED = (BATCH_LINEAR, MASKED_LINEAR, QKV_SCORES, RESIDENT_VALUES, VALUES_OUTPUT, WHOLE_LAYER)
_ROWED = (RELAY, MATMUL_SCORES, MATMUL_VALUES, QKV_SCORES, RESIDENT_VALUES, VALUES_OUTPUT)
_KEYED = (RESIDENT_VALUES, VALUES_OUTPUT)
_MODULED = (BATCH_LINEAR, MASKED_LINEAR)


@dataclass(frozen=True)
class Operation:
    """One remote operation. What does not apply to it keeps its default.

    `rows`: rows per block of packed causal scores, 0 for dense ones; `keys`: how many of the resident values the
    attention weights are for (a later chunk's may be there already); `resident`: values stay on the server; `dtype`:
    of the reply, where no tensor of the request says it;
    `elements`, `count`: of the tensors of a relay's reply, `rows` then of the product that it makes and drops.
    """

    name: str
    layer: int = -1
    modules: tuple[str, ...] = ()
    rows: int = 0
    keys: int = 0
    resident: bool = False
    dtype: str = ""
    elements: int = 0
    count: int = 1

    @functools.cached_property
    def method(self) -> str:
        """The method of a message that asks for it."""
        words = [self.name]
        if self.name in _LAYERED:
            words.append(str(self.layer))
        if self.name in _MODULED:
            words.append(",".join(self.modules))
        if self.name in _ROWED:
            words.append(str(self.rows))
        if self.name in _KEYED:
            words.append(str(self.keys))
        if self.name == QKV_SCORES:
            words.append("resident" if self.resident else "values")
        if self.name == EMBEDDING:
            words.append(self.dtype)
        if self.name == RELAY:
            words += [str(self.elements), str(self.count)]
        return "/".join(words)

    def __str__(self) -> str:
        return self.method


@functools.lru_cache(maxsize=4096)
def parse(method: str) -> Operation:
    """The operation a method names. Raises `UnknownOperation` saying which word is wrong.

    Whether the server has that layer is the server's affair.
    """
    name, *words = method.split("/")
    if name not in OPERATIONS:
        raise UnknownOperation(f"operation {name!r:.60}", "is unknown", f"one of {', '.join((*OPERATIONS, *CONTROL))}")
    try:
        layer = _number(words.pop(0)) if name in _LAYERED else -1
        modules = tuple(words.pop(0).split(",")) if name in _MODULED else ()
        rows = _number(words.pop(0)) if name in _ROWED else 0
        keys = _number(words.pop(0)) if name in _KEYED else 0
        keeping = words.pop(0) if name == QKV_SCORES else "values"
        dtype = words.pop(0) if name == EMBEDDING else ""
        elements = _number(words.pop(0)) if name == RELAY else 0
        count = _number(words.pop(0)) if name == RELAY else 1
    except (IndexError, ValueError) as error:
        raise UnknownOperation(f"operation {method!r:.120}", f"a word is missing or no number: {error}") from error
    for module in modules:
        if module not in MODULES:
            raise UnknownOperation(f"module {module!r:.60}", "is unknown", f"one of {', '.join(MODULES)}")
    twice = len(set(modules)) != len(modules)
    if words or keeping not in {"resident", "values"} or twice or not 1 <= count <= MAX_RELAYED:
        raise UnknownOperation(f"operation {method!r:.120}", "has words too many, or one twice")
    return Operation(name, layer, modules, rows, keys, keeping == "resident", dtype, elements, count)


Shapes = tuple[tuple[int, ...], ...]
_SHARED, _GIVES, _MAX_TENSORS = "@", ">", 8


def shapes_words(request: Shapes, reply: Shapes) -> str:
    """What follows a method whose tensors lie in shared memory: `@128x768>24x128x128`."""
    return f"{_SHARED}{_GIVES.join(','.join('x'.join(map(str, shape)) for shape in side) for side in (request, reply))}"


@functools.lru_cache(maxsize=4096)
def parse_shared(method: str) -> tuple[Operation, tuple[Shapes, Shapes] | None]:
    """The operation, and the shapes of its request and reply where they lie in shared memory.

    Raises `UnknownOperation`.
    """
    name, found, words = method.partition(_SHARED)
    if not found:
        return parse(method), None
    sides = words.split(_GIVES)
    if len(sides) != 2:
        raise UnknownOperation(f"operation {method!r:.120}", "has no shapes for request and reply")
    return parse(name), (_shapes_of(sides[0], method), _shapes_of(sides[1], method))


def _shapes_of(words: str, method: str) -> Shapes:
    try:
        shapes = tuple(tuple(_number(extent) for extent in shape.split("x")) for shape in words.split(","))
    except ValueError as error:
        raise UnknownOperation(f"operation {method!r:.120}", f"its shapes: {error}") from error
    if len(shapes) > _MAX_TENSORS or any(len(shape) > 4 or not all(shape) for shape in shapes):
        raise UnknownOperation(f"operation {method!r:.120}", "its shapes are too many, or empty")
    return shapes


def _number(word: str) -> int:
    if not word.isdecimal() or len(word) > 9:
        raise ValueError(f"{word!r:.40} is no number")
    return int(word)


def linear_operations(config: ModelConfig) -> dict[Operation, tuple[str, ...]]:
    """Every linear call of the `linear_only` fusion with the names of its weights; the head last."""
    found = {
        Operation(BATCH_LINEAR, layer, modules): tuple(module_weight(layer, module) for module in modules)
        for layer in range(config.layers)
        for modules in GROUPS
    }
    found[Operation(LM_HEAD)] = (head_weight(config),)
    return found
