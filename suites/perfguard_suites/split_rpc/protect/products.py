"""Products of two activations (Q K^T, A V) under masks: computed by the trusted process, and why.

An additive mask pays because r W can be computed ahead, W being known. With two activations nothing is: the server's
(A + R)(B + S) = AB + AS + RB + RS leaves AS and RB, each as large as AB itself, to the trusted process, online
(`costs.masked_product_online` counts them). What would be cheaper gives something up:

    Beaver triples, two servers     exact and secret as long as the servers never talk to each other
    permuting and scaling           fast on one server; hides positions, not the values' distribution: not perfect
    keys resident under a mask      K + S stays on the server; each step still needs q S, as long as q K
    homomorphic encryption          exact and secret on one server; orders of magnitude slower

So the default is the plain product in the trusted process: no message, nothing to see, and in float32.
"""

from __future__ import annotations

import torch


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Left @ right here, in the trusted process; shapes (..., m, k) and (..., k, n), any float dtype, any device."""
    return torch.matmul(left, right)
