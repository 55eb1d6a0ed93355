"""Digit readers: recurrent networks that read an image row by row and hold an answer after every row.

`RowReader` is trained (batches of one height, no padding); `DigitReader` is served: the same weights behind the
contract of docs/models.md, with ragged batches, resumable state and calibrated answers.
Shapes: B digits, T rows, 28 columns, H hidden units, K labels (the 10 digits), and one more class for none of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.networks.paper_level import LEVELS, PaperLevel
from training.networks.ragged import RaggedLSTM
from training.networks.steady import SteadyLinear, fill_up, logaddexp

COLUMNS = 28
CLASSES = 10
MAX_ROWS = 64
CHANNELS = 4  # kinds of strokes, each detected at every second column
STROKES = CHANNELS * COLUMNS // 2
REACH = 3  # rows of a stroke


class RowReader(nn.Module):
    """Strokes in the last three rows, stacked LSTMs, and an answer after every row; causal by construction.

    The answer has a class for each label (the ten digits), and one for none of them.
    """

    def __init__(self, hidden: int = 256, layers: int = 1, dropout: float = 0.0, classes: int = CLASSES) -> None:
        super().__init__()
        self.hidden, self.layers = hidden, layers
        self.strokes = nn.Conv2d(1, CHANNELS, (REACH, 3), stride=(1, 2), padding=(0, 1))
        widths = [COLUMNS + STROKES] + [hidden] * (layers - 1)
        self.lstms = nn.ModuleList(_initialised(nn.LSTM(width, hidden, batch_first=True)) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.head = SteadyLinear(hidden, classes + 1)

    def forward(self, rows: Tensor) -> Tensor:
        """(B, T, 28), ink 0..1 -> logits after each row (B, T, K + 1)."""
        answer: Tensor = self.head(self.hidden_after(self.seen(rows)))
        return answer

    def seen(self, rows: Tensor) -> Tensor:
        """(B, T, 28) -> what the first LSTM gets: the rows and their strokes (B, T, 84)."""
        taller = nn.functional.pad(rows, (0, 0, REACH - 1, 0))
        strokes = self.strokes(taller.unsqueeze(1)).relu().transpose(1, 2).flatten(2)
        return torch.cat([rows, strokes], 2)

    def hidden_after(self, seen: Tensor) -> Tensor:
        """(B, T, 84) -> the last LSTM's h after each row (B, T, H)."""
        x = seen
        for lstm in self.lstms:
            x = self.dropout(lstm(x)[0])
        return x


class DigitJudge(nn.Module):
    """How likely the rows so far are no digit, from the reader's h and what the reader sees; causal by construction.

    Each row is evidence; its greatest values so far and their sums go, with h, to the log-odds. There is no recurrence
    of its own, so it costs little beside the reader. It is trained with the reader's weights held fixed, and takes
    nothing of what the reader knows of digits.
    """

    def __init__(self, reader_hidden: int, evidence: int = 96) -> None:
        super().__init__()
        self.evidence = evidence
        self.rows = SteadyLinear(reader_hidden + COLUMNS + STROKES, evidence)
        self.verdict = Verdict(reader_hidden + 2 * evidence)

    @torch.jit.unused
    def forward(self, hidden: Tensor, seen: Tensor) -> Tensor:
        """The reader's h (B, T, H) and its input (B, T, 84) -> log-odds of no digit after each row (B, T)."""
        found = self.rows(torch.cat([hidden, seen], 2)).relu().float()
        log_odds: Tensor = self.verdict(torch.cat([hidden, found.cummax(1).values, found.cumsum(1) / COLUMNS], 2))
        return log_odds


class Verdict(nn.Module):
    """Two layers from the h of a reader and its judge (..., F) to the log-odds of no digit (...)."""

    WIDTH = 64

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first, self.second = SteadyLinear(features, self.WIDTH), SteadyLinear(self.WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        log_odds: Tensor = self.second(self.first(x).relu()).squeeze(-1)
        return log_odds


def digit_log_probabilities(logits: Tensor) -> Tensor:
    """(..., K + 1) logits -> (..., K) log-probabilities: the share of the class for none goes to all others evenly."""
    labels = logits.shape[-1] - 1
    classes, none = torch.log_softmax(logits, dim=-1).split([labels, 1], dim=-1)
    return logaddexp(classes, none - math.log(labels))


def _initialised(lstm: nn.LSTM) -> nn.LSTM:
    """Orthogonal recurrence and a forget gate that starts open (Jozefowicz et al., 2015), so that memory lasts."""
    hidden = lstm.hidden_size
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            if name.startswith("weight_hh"):
                for gate in parameter.split(hidden):
                    nn.init.orthogonal_(gate)
            elif name.startswith("weight_ih"):
                nn.init.xavier_uniform_(parameter)
            else:
                parameter.zero_()
                if name.startswith("bias_ih"):
                    parameter[hidden : 2 * hidden] = 1.0
    return lstm


class DigitReader(nn.Module):
    """A trained `RowReader` behind the digit contract of docs/models.md; it reads rows as `PaperLevel` gives them.

    State, float64 `(B, 2 * layers * H + 2 * E + 87)`: h and c of every layer, the greatest evidence and the sums
    of the judge, if there is one, the last two rows and the state of `PaperLevel` (float32 values), the rows read.
    """

    def __init__(
        self,
        core: RowReader,
        temperatures: Tensor | None = None,
        judge: DigitJudge | None = None,
        caution: Tensor | None = None,
    ) -> None:
        """`temperatures` (64,): the logits after row t are divided by entry t - 1 (the last one for later rows).

        `caution` (64,): what is added after row t to the log-odds of no digit that a `judge` gives.
        """
        super().__init__()
        self.hidden, self.layers = core.hidden, core.layers
        self.evidence = 0 if judge is None else judge.evidence
        self.width = 2 * (core.layers * core.hidden + self.evidence)
        # Of the state: h and c of every layer, what the judge has collected, the last rows, levels, rows read.
        self.parts = [core.hidden] * (2 * core.layers) + [2 * self.evidence, 2 * COLUMNS, LEVELS, 1]
        self.state_width = sum(self.parts)
        self.paper = PaperLevel()
        self.strokes = _dense(core.strokes)
        self.lstms = nn.ModuleList(_ragged(lstm) for lstm in core.lstms)
        self.head = core.head
        self.judge = judge
        values = torch.ones(MAX_ROWS) if temperatures is None else temperatures.detach().float().clone()
        if values.shape != (MAX_ROWS,) or not bool((values > 0).all()):
            raise ValueError(f"temperatures must be {MAX_ROWS} positive numbers")
        self.temperatures: Tensor
        self.register_buffer("temperatures", values)
        self.caution: Tensor
        if judge is not None:
            added = torch.zeros(MAX_ROWS) if caution is None else caution.detach().float().clone()
            self.register_buffer("caution", added)

    @torch.jit.export
    def initial(self, batch: int) -> Tensor:
        """State of `batch` digits before their first row."""
        return torch.zeros([batch, self.state_width], dtype=torch.float64, device=self.temperatures.device)

    @torch.jit.export
    def step(self, rows: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        """Read `lengths[b]` further rows of each digit."""
        return self._run(rows, lengths, state, is_traced=False)[0]

    @torch.jit.export
    def read(self, state: Tensor) -> Tensor:
        """(B, K) calibrated log-probabilities; uniform where no row has been read."""
        before = state.float().split(self.parts, 1)
        hidden = before[-6]
        if self.judge is not None:
            greatest, sums = before[-4].split(self.evidence, 1)
            hidden = torch.cat([hidden, greatest, sums / 28], 1)
        return self._answer(hidden, before[-1].squeeze(1))

    @torch.jit.export
    def trace(self, rows: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """State after the rows, and the log-probabilities after each of them (B, T, K)."""
        next_state, outputs = self._run(rows, lengths, state, is_traced=True)
        counts = state[:, -1:] + torch.arange(1, rows.size(1) + 1, device=rows.device).unsqueeze(0)
        return next_state, self._answer(outputs.flatten(0, 1), counts.flatten()).unflatten(0, counts.shape)

    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """Log-probabilities of fresh digits after their last row."""
        return self.read(self.step(rows, lengths, self.initial(rows.size(0))))

    def _answer(self, hidden: Tensor, counts: Tensor) -> Tensor:
        """(N, H), and 2 E more with a judge, and rows read (N,) -> (N, K)."""
        number, row = hidden.size(0), counts.long().clamp(1, 64) - 1
        filled = fill_up(hidden)  # once for all layers, none of which has to do it then
        logits = self.head(filled[:, : self.hidden])[:number]
        answer = digit_log_probabilities(logits / self.temperatures[row].unsqueeze(1))
        even = -math.log(answer.shape[1])
        if self.judge is not None:
            log_odds = (self.judge.verdict(filled)[:number] + self.caution[row]).unsqueeze(1)
            # softplus(x) of the log-odds and of their negative, which share all but this.
            excess = torch.log1p(torch.exp(-log_odds.abs()))
            none, digit = (-log_odds).clamp(min=0) + excess, log_odds.clamp(min=0) + excess
            answer = logaddexp(answer - digit, even - none)
        return answer.masked_fill((counts <= 0.0).unsqueeze(1), even)

    def _run(self, rows: Tensor, lengths: Tensor, state: Tensor, is_traced: bool) -> tuple[Tensor, Tensor]:
        """-> state after the rows, and what `_answer` gets after each of them (B, T, H), or (B, T, H + 2 E).

        Without `is_traced` that is what the last LSTM gives. Small operators cost as much as the rows of one digit, so
        there are few of them where no digit is padded.
        """
        count, steps = rows.size(0), rows.size(1)
        is_full = bool((lengths == steps).all())
        padding = torch.zeros([count, steps], dtype=torch.bool, device=rows.device)
        fresh = rows.float()
        if not is_full:
            padding = torch.arange(steps, device=rows.device)[None, :] >= lengths[:, None]
            fresh = fresh.masked_fill(padding.unsqueeze(2), 0.0)  # padding may hold any values, NaN included
        before = state.float().split(self.parts, 1)
        evidence, last_rows, levels, read = before[-4], before[-3], before[-2], before[-1]
        fresh, levels = self.paper(fresh, padding, levels, read.squeeze(1))
        joined = torch.cat([last_rows.view(-1, 2, 28), fresh], 1)
        strokes = self.strokes(torch.cat([joined[:, :-2], joined[:, 1:-1], fresh], 2)).relu()
        seen = torch.cat([fresh, strokes], 2)
        x = seen
        columns: list[Tensor] = []
        for i, lstm in enumerate(self.lstms):
            x, h, c = lstm(x, lengths, before[2 * i], before[2 * i + 1], is_full)
            columns += [h, c]
        if self.judge is not None:
            found = self.judge.rows(torch.cat([x, seen], 2))
            if not is_full:
                found = found.masked_fill(padding.unsqueeze(2), 0.0)
            x, evidence = self._collected(x, found, evidence, is_traced)
            columns.append(evidence)
        if is_full:
            last_rows = joined[:, -2:]
        else:
            last = lengths[:, None, None] + torch.arange(2, device=rows.device)[None, :, None]
            last_rows = joined.gather(1, last.expand(-1, -1, 28))
        columns += [last_rows.flatten(1), levels, read + lengths.unsqueeze(1)]
        return torch.cat(columns, dim=1).double(), x

    def _collected(self, x: Tensor, found: Tensor, earlier: Tensor, is_traced: bool) -> tuple[Tensor, Tensor]:
        """`x` (B, T, H), with the evidence so far after each row if `is_traced`, and that after all rows (B, 2 E).

        The evidence so far is the greatest values of evidence `found` (B, T, E) and their sums; `earlier` (B, 2 E) are
        those before the rows. Evidence is in steps of 1/256, of which float32 sums are exact: rows in several parts
        have the same sums as in one.
        """
        steps = (found * 256).clamp(min=0.0, max=65536.0).round() / 256
        greatest, sums = earlier.split(self.evidence, 1)
        if not is_traced and steps.size(1) > 0:
            return x, torch.cat([torch.maximum(greatest, steps.amax(1)), sums + steps.sum(1)], 1)
        greatest_then = torch.cat([greatest.unsqueeze(1), steps], 1).cummax(1)[0]
        sums_then = torch.cat([sums.unsqueeze(1), steps], 1).cumsum(1)
        x = torch.cat([x, greatest_then[:, 1:], sums_then[:, 1:] / 28], 2)
        return x, torch.cat([greatest_then[:, -1], sums_then[:, -1]], 1)


def _dense(convolution: nn.Conv2d) -> SteadyLinear:
    """The convolution over three rows as one product: quicker, and with the same bits in a batch of any size."""
    layer = SteadyLinear(REACH * COLUMNS, STROKES)
    with torch.no_grad():
        pictures = torch.eye(REACH * COLUMNS).view(-1, 1, REACH, COLUMNS)
        layer.weight.copy_(nn.functional.conv2d(pictures, convolution.weight, None, (1, 2), (0, 1)).flatten(1).T)
        if convolution.bias is not None:
            layer.bias.copy_(convolution.bias.repeat_interleave(COLUMNS // 2))
    return layer


def _ragged(trained: nn.Module) -> RaggedLSTM:
    """A trained LSTM's weights in a layer that takes ragged rows."""
    weights = {name: value.detach().cpu().float() for name, value in trained.state_dict().items()}
    hidden, width = weights["weight_hh_l0"].shape[1], weights["weight_ih_l0"].shape[1]
    layer = RaggedLSTM(width, hidden)
    with torch.no_grad():
        for name, parameter in layer.lstm.named_parameters():
            if name == "weight_ih_l0":
                parameter[:, :width] = weights[name]
            else:
                parameter.copy_(weights[name])
    return layer


def row_reader(weights: dict[str, Tensor]) -> RowReader:
    """The trainable reader inside a served one, from the state_dict of its `DigitReader`: the inverse of exporting."""
    hidden = weights["head.weight"].shape[1]
    layers = sum(name.startswith("lstms.") and name.endswith("weight_hh_l0") for name in weights)
    reader = RowReader(hidden, layers, classes=len(weights["head.weight"]) - 1)
    dense = weights["strokes.weight"].view(CHANNELS, COLUMNS // 2, REACH, COLUMNS)
    state = {
        # The second of the strided windows lies whole inside the row: columns 1 to 3.
        "strokes.weight": dense[:, 1, :, 1:4].unsqueeze(1).clone(),
        "strokes.bias": weights["strokes.bias"].view(CHANNELS, -1)[:, 0].clone(),
        "head.weight": weights["head.weight"],
        "head.bias": weights["head.bias"],
    }
    for name in reader.state_dict():
        if name.startswith("lstms."):
            _, layer, parameter = name.split(".")
            value = weights[f"lstms.{layer}.lstm.{parameter}"]
            state[name] = value[:, :-1] if parameter == "weight_ih_l0" else value
    reader.load_state_dict(state)
    return reader.eval()
