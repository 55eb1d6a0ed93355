"""Series that are exactly what their last two values say: squares, Fibonacci's numbers, sines, growth and decay.

x_t = p x_(t-1) + q x_(t-2) + c holds for all of these. Where it has held for all of the newest values, a person expects
it to go on, and no other method would say so.

Shapes: N read-outs, W remembered values, H steps ahead. Values are in scales, less the last one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.networks.past import Past


def second_order(past: Past, ahead: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The continuation at each step `ahead` (N, H), the doubt about it, 0..1 (N, H), and how many values agree (N, 1).

    The least-squares fit over the newest values, 40 at most, up to a gap. Three numbers take five values that agree
    with them, or four where p and q are whole numbers; a constant second difference (p = 2, q = -1) takes three. Doubt
    is 1 where the largest error is 2.5 % of the scale, and sooner for steps that are further ahead than the past is
    long; where it is 1 for all, the continuations are 0.
    """
    x = past.filled[:, -40:]
    run = ((1 - past.mask[:, -40:]).flip(1).cumsum(1) == 0).flip(1).to(torch.float64)
    known = run[:, :-2]
    n = known.sum(1, keepdim=True)
    count = n.clamp(min=1)
    triples = torch.stack([x[:, :-2], x[:, 1:-1], x[:, 2:]], 1)
    means = (known.unsqueeze(1) * triples).sum(2, keepdim=True) / count.unsqueeze(2)
    off = (triples - means) * known.unsqueeze(1)
    a0, b0, c0 = means.unbind(1)
    da, db, dc = off.unbind(1)
    aa, ab, ac = (off * off[:, :1]).sum(2, keepdim=True).unbind(1)
    bb, bc = (off[:, 1:] * off[:, 1:2]).sum(2, keepdim=True).unbind(1)
    determinant = aa * bb - ab * ab
    is_regular = determinant > 1e-10 * aa * bb
    factors = torch.cat([bc * aa - ac * ab, ac * bb - bc * ab], 1) / torch.where(is_regular, determinant, 1.0)
    factors = torch.where(is_regular, factors, 0.0).clamp(-4.0, 4.0)
    p, q = factors.narrow(1, 0, 1), factors.narrow(1, 1, 1)
    error = (dc - p * db - q * da).abs().amax(1, keepdim=True)
    are_whole = (factors - factors.round()).abs().amax(1, keepdim=True) < 1e-6
    enough = ((n >= 5) | (are_whole & (n >= 4))) & is_regular
    bent_error = (dc - 2 * db + da).abs().amax(1, keepdim=True)
    is_bent = (n >= 3) & (bent_error <= (error + 1e-9) * 1.5 + torch.where(enough, 0.0, 1e9))
    error = torch.where(is_bent, 5 * bent_error, error)  # three agree more easily than five
    beyond = 1 + ahead.to(torch.float64) / count
    doubt = torch.where(is_bent | enough, (40 * error * beyond).clamp(max=1.0), 1.0)
    if not bool((doubt < 1).any()):
        return torch.zeros_like(doubt), doubt, n
    p, q = torch.where(is_bent, 2.0, p), torch.where(is_bent, -1.0, q)
    return carried_on(x[:, -1:], x[:, -2:-1], p, q, c0 - p * b0 - q * a0, ahead), doubt, n


def carried_on(last: Tensor, before: Tensor, p: Tensor, q: Tensor, constant: Tensor, ahead: Tensor) -> Tensor:
    """x_t = p x_(t-1) + q x_(t-2) + constant, `ahead` (N, H) steps on from `last` and the value `before` it.

    All others are (N, 1). The step is a matrix on (x_t, x_(t-1), 1), and many steps are its powers, by squaring.
    """
    zero, one = torch.zeros_like(p), torch.ones_like(p)
    rows = [torch.cat([p, q, constant], 1), torch.cat([one, zero, zero], 1), torch.cat([zero, zero, one], 1)]
    power = torch.stack(rows, 1)  # (N, 3, 3)
    state = torch.cat([last, before, one], 1).unsqueeze(1).expand(-1, ahead.shape[1], -1)  # (N, H, 3)
    left = ahead
    while bool((left > 0).any()):
        moved = (power.unsqueeze(1) * state.unsqueeze(2)).sum(3).clamp(-1e60, 1e60)
        state = torch.where((left % 2 == 1).unsqueeze(2), moved, state)
        power = (power.unsqueeze(3) * power.unsqueeze(1)).sum(2).clamp(-1e60, 1e60)
        left = left.div(2, rounding_mode="floor")
    return state.select(2, 0)
