"""Freivalds' check of floating-point replies: lies that exceed what rounding can explain are caught, others are not.

The honest error of a row of Y = fl(X W') is bounded, in Euclidean norm, by eta = g ||x|| ||W||_F with g from the
rounding of the server's arithmetic: |y_j - fl(y_j)| <= g_k |x|.|w_j| (Higham 2002, section 3.1, in any order of
summation, g_k = k u / (1 - k u)) and Cauchy-Schwarz over inputs and outputs. By default g_k is the probabilistic bound
of Higham and Mary (2019, Theorem 2.4): exp(L sqrt(k) u + k u^2 / (1-u)) - 1, which holds with probability at least
1 - 2 k exp(-L^2 (1-u)^2 / 2) per element if rounding errors are independent with mean zero; for k > L^2 = 100 it is
smaller, by sqrt(k) / L, so that smaller lies are caught.

Columns of R are standard normal and secret, so (Y - X W') R has, for a row error e, squared norm ||e||^2 times a
chi-square variable with as many degrees of freedom as columns: an unbiased estimate of ||e||^2 that knows its own law.
The test rejects above the quantile q of eta^2 chi^2. Hence, exactly:

    false alarm of an honest row   <= alarm               (||e|| <= eta)
    miss of a lie with ||e|| = c eta <= P(chi^2 <= q / c^2)  (`miss_probability`)

So a lie of a few eta or less passes: it is no larger than what rounding might have done. For exactness use masks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.special import chdtr, chdtri  # scipy.stats takes a second to import, in both processes

from perfguard_suites.split_rpc.protect.entropy import Entropy, SystemEntropy, normals
from perfguard_suites.split_rpc.protect.errors import MalformedReply, ServerLied, UnquantisableInput

_DOUBLE = 2.0**-53
_SURENESS = 10.0  # L above: 2 k exp(-L^2 / 2) is below 1e-17 for every k up to 10^4
_BLOCK_ELEMENTS = 1 << 20
_STOP = "throw its results away, stop using it, and draw new secrets with float_check"


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Unit roundoffs of what the server does: operands, accumulation, result; and what underflow may lose.

    `smallest`: absolute, per element: half the result type's smallest subnormal, and 2^-100, which is over k 2^-126 for
    any k, for float32 sums whose products are flushed to zero.
    """

    name: str
    accumulation: float
    operands: float = 0.0
    result: float = 0.0
    smallest: float = 2.0**-100


FP32 = Arithmetic("fp32", 2.0**-24)
TF32 = Arithmetic("tf32", 2.0**-24, operands=2.0**-11)
BF16_WIRE = Arithmetic("fp32, result rounded to bf16", 2.0**-24, result=2.0**-8)
FP16_WIRE = Arithmetic("fp32, result rounded to fp16", 2.0**-24, result=2.0**-11, smallest=2.0**-25)
BF16 = Arithmetic("bf16 operands and result, fp32 sums", 2.0**-24, 2.0**-8, 2.0**-8)


@dataclass(frozen=True, slots=True)
class FloatCheck:
    """The secrets and bounds of one call's check; they never leave the trusted side.

    `coefficients`: R, float64 (outputs_i, columns) for each module; `digest`: W' R, float64 (inputs, columns).
    `frobenius`: ||W||_F over all modules; `relative`: eta / (||x|| ||W||_F) before the result is rounded; `own`: what
    the check's float64 may be wrong by, relative alike. `quantile`: q above. `arithmetic`: what the server is allowed.
    """

    name: str
    coefficients: tuple[torch.Tensor, ...]
    digest: torch.Tensor
    frobenius: float
    relative: float
    own: float
    quantile: float
    arithmetic: Arithmetic

    @property
    def columns(self) -> int:
        """Independent random columns."""
        return int(self.digest.shape[1])

    @property
    def outputs(self) -> tuple[int, ...]:
        """Features that come out, for each module."""
        return tuple(int(part.shape[0]) for part in self.coefficients)


def growth(inputs: int, arithmetic: Arithmetic, deterministic: bool = False) -> float:
    """G in |x w - fl(x w)| <= g |x| |w| for one inner product of `inputs` terms, before its result is rounded.

    Higham (2002), eq. 3.5, if `deterministic`; Higham and Mary (2019), Theorem 2.4, else. Raises ValueError if
    inputs x roundoff reaches 1, where neither says anything.
    """
    u, k = arithmetic.accumulation, inputs
    if k * u >= 1:
        raise ValueError(f"{k} terms with a roundoff of {u} have no error bound")
    sums = k * u / (1 - k * u)
    if not deterministic:
        sums = min(sums, math.expm1(_SURENESS * math.sqrt(k) * u + k * u * u / (1 - u)))
    operands = (1 + arithmetic.operands) ** 2 - 1
    return operands + sums * (1 + operands)


def float_check(
    name: str,
    weights: Sequence[torch.Tensor],
    arithmetic: Arithmetic = FP32,
    entropy: Entropy | None = None,
    *,
    columns: int = 8,
    alarm: float = 1e-12,
    deterministic: bool = False,
) -> FloatCheck:
    """Draw the secrets for modules that share an input; offline.

    `weights`: (outputs_i, inputs) each, with the very values that the server multiplies by (a bf16 weight: its own
    values). `alarm`: the probability of a false alarm per row. Raises `UnquantisableInput` for weights that are not
    finite, or no float matrices of equal inputs.
    """
    if (
        not weights
        or any(w.ndim != 2 or not w.is_floating_point() for w in weights)
        or len({w.shape[1] for w in weights}) != 1
    ):
        shapes = [(str(w.dtype), tuple(w.shape)) for w in weights]
        raise UnquantisableInput(name, f"weights {shapes}", "give float matrices that share their inputs")
    source = SystemEntropy() if entropy is None else entropy
    inputs = int(weights[0].shape[1])
    coefficients = tuple(normals(source, (int(w.shape[0]), columns)) for w in weights)
    digest = torch.zeros((inputs, columns), dtype=torch.float64)
    squares = 0.0
    for weight, part in zip(weights, coefficients, strict=True):
        step = max(1, _BLOCK_ELEMENTS // max(1, inputs))
        for start in range(0, int(weight.shape[0]), step):
            tile = weight[start : start + step].detach().to(device="cpu", dtype=torch.float64)
            digest += tile.T @ part[start : start + step]
            squares += float(tile.square().sum())
    if not math.isfinite(squares):
        raise UnquantisableInput(name, "a weight holds NaN or infinity", "look at the checkpoint")
    relative = growth(inputs, arithmetic, deterministic)
    quantile = float(chdtri(columns, alarm))
    own = _own_error(inputs, coefficients)
    return FloatCheck(name, coefficients, digest, math.sqrt(squares), relative, own, quantile, arithmetic)


def tolerance(check: FloatCheck, x: torch.Tensor, replies: Sequence[torch.Tensor]) -> torch.Tensor:
    """eta: the largest honest Euclidean error of each row, float64 (rows,).

    The result's rounding is bounded by the reply itself, |fl(y) - y| <= u |fl(y)| / (1 - u), and costs a pass over it
    only where the result is rounded to a narrower type.
    """
    eta: torch.Tensor = torch.linalg.vector_norm(x.to(torch.float64), dim=1) * (check.relative * check.frobenius)
    arithmetic = check.arithmetic
    if arithmetic.result:
        squares = sum(torch.linalg.vector_norm(r, dim=1, dtype=torch.float64).square() for r in replies)
        size = torch.as_tensor(squares).sqrt()
        eta = eta + size * (arithmetic.result / (1 - arithmetic.result))
    return eta.add_(math.sqrt(sum(check.outputs)) * arithmetic.smallest)


def miss_probability(check: FloatCheck, excess: float) -> float:
    """The probability that a row error of `excess` times `tolerance` passes one check."""
    return float(chdtr(check.columns, check.quantile / excess**2)) if excess > 0 else 1.0


def verify_float(check: FloatCheck, x: torch.Tensor, replies: Sequence[torch.Tensor]) -> None:
    """Raise `ServerLied`, naming the rows, if a row's error is larger than rounding explains.

    `x`: (rows, inputs) as the server received it (rounded to the wire's type, if that is narrower); `replies`: float
    (rows, outputs_i), one for each module. NaN or infinity counts as a lie. Raises `MalformedReply` for other shapes.
    """
    rows = int(x.shape[0])
    expected = [(rows, n) for n in check.outputs]
    if [tuple(r.shape) for r in replies] != expected or not all(r.is_floating_point() for r in replies):
        got = [(str(r.dtype), tuple(r.shape)) for r in replies]
        raise MalformedReply(check.name, f"replies {got} instead of floats {expected}", "the server is broken or lies")
    if x.ndim != 2 or x.shape[1] != check.digest.shape[0]:
        raise MalformedReply(check.name, f"an input of {tuple(x.shape)}", "check against what was sent")
    wrong: list[int] = []
    step = max(1, _BLOCK_ELEMENTS // max(check.digest.shape[0], *check.outputs))
    for start in range(0, rows, step):
        block = slice(start, start + step)
        honest = _rows_are_honest(check, x[block], [reply[block] for reply in replies])
        wrong += [start + int(row) for row in torch.nonzero(~honest)[:, 0]]
    if wrong:
        raise ServerLied(
            f"server's reply for {check.name}",
            f"{len(wrong)} of {rows} rows are off the product by more than {check.arithmetic.name} rounds: {wrong[:8]}",
            _STOP,
        )


def _own_error(inputs: int, coefficients: Sequence[torch.Tensor]) -> float:
    """Rounding of Y R, X (W' R) and W' R in float64, over all columns, relative to ||x|| ||W||_F (Higham again)."""
    columns = int(coefficients[0].shape[1])
    squares = torch.stack([part.square().sum(dim=0) for part in coefficients]).sum(dim=0)
    terms = inputs + sum(int(part.shape[0]) for part in coefficients)
    return 2 * terms * _DOUBLE * math.sqrt(columns * float(squares.max()))


def _rows_are_honest(check: FloatCheck, x: torch.Tensor, replies: Sequence[torch.Tensor]) -> torch.Tensor:
    """Bool (rows,): ||(Y - X W') R|| <= sqrt(q) eta, plus what this check's own float64 can be wrong by."""
    wide = x.to(torch.float64)
    difference = -(wide @ check.digest)
    for reply, part in zip(replies, check.coefficients, strict=True):
        difference += reply.to(torch.float64) @ part
    own = torch.linalg.vector_norm(wide, dim=1) * (check.own * check.frobenius)
    limit = tolerance(check, x, replies) * math.sqrt(check.quantile) + own
    # Not `> limit`: a NaN compares false with everything and must count as a lie.
    honest: torch.Tensor = torch.linalg.vector_norm(difference, dim=1) <= limit
    return honest
