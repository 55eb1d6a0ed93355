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
    long.
    """
    x = past.filled[:, -40:]
    run = ((1 - past.mask[:, -40:]).flip(1).cumsum(1) == 0).flip(1).to(torch.float64)
    a, b, c, known = x[:, :-2], x[:, 1:-1], x[:, 2:], run[:, :-2]
    n = known.sum(1, keepdim=True)
    count = n.clamp(min=1)
    a0, b0, c0 = [(known * y).sum(1, keepdim=True) / count for y in (a, b, c)]
    da, db, dc = (a - a0) * known, (b - b0) * known, (c - c0) * known
    aa, ab, bb = (da * da).sum(1, keepdim=True), (da * db).sum(1, keepdim=True), (db * db).sum(1, keepdim=True)
    ac, bc = (da * dc).sum(1, keepdim=True), (db * dc).sum(1, keepdim=True)
    determinant = aa * bb - ab * ab
    is_regular = determinant > 1e-10 * aa * bb
    safe = torch.where(is_regular, determinant, 1.0)
    p = torch.where(is_regular, (bc * aa - ac * ab) / safe, 0.0).clamp(-4.0, 4.0)
    q = torch.where(is_regular, (ac * bb - bc * ab) / safe, 0.0).clamp(-4.0, 4.0)
    error = (dc - p * db - q * da).abs().amax(1, keepdim=True)
    whole = torch.maximum((p - p.round()).abs(), (q - q.round()).abs()) < 1e-6
    enough = (n >= 5) | (whole & (n >= 4))
    bent_error = (dc - 2 * db + da).abs().amax(1, keepdim=True)
    is_bent = (n >= 3) & (bent_error <= (error + 1e-9) * 1.5 + torch.where(enough & is_regular, 0.0, 1e9))
    p, q = torch.where(is_bent, 2.0, p), torch.where(is_bent, -1.0, q)
    error = torch.where(is_bent, 5 * bent_error, error)  # three agree more easily than five
    constant = c0 - p * b0 - q * a0
    usable = is_bent | (enough & is_regular)
    beyond = 1 + ahead.to(torch.float64) / count
    doubt = torch.where(usable, (40 * error * beyond).clamp(max=1.0), 1.0)
    return carried_on(x[:, -1:], x[:, -2:-1], p, q, constant, ahead), doubt, n


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
