"""Tokens → embedding → bidirectional LSTM → structured self-attention → vector.

Source: Lin et al., "A Structured Self-Attentive Sentence Embedding", 2017. Imports torch: import
it only where a module is made.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class AttentiveLstm(nn.Module):
    """INPUT_IDS and ATTENTION_MASK to vectors of length 1; padding is on the right.

    The backward direction is an LSTM over each sequence reversed within its own length, so that
    padding never comes before a token. Packed sequences would say the same, but have no ONNX form.

    Args:
        vocabulary: number of tokens.
        embedding: length of a token's vector.
        hidden: length of the state of each direction.
        attention: length of the hidden layer that scores tokens.
        hops: how many weightings of the tokens are learnt.
        dimension: length of the result.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        embedding: int = 128,
        hidden: int = 128,
        attention: int = 64,
        hops: int = 4,
        dimension: int = 256,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.forwards = nn.LSTM(embedding, hidden, batch_first=True)
        self.backwards = nn.LSTM(embedding, hidden, batch_first=True)
        self.inner = nn.Linear(2 * hidden, attention, bias=False)
        self.scores = nn.Linear(attention, hops, bias=False)
        self.projection = nn.Linear(hops * 2 * hidden, dimension)

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the LSTM's states, (n, length, 2 x hidden); those of padding mean nothing."""
        tokens = self.embedding(ids)
        turned = _reversal(mask)
        forwards, _ = self.forwards(tokens)
        backwards, _ = self.backwards(_reordered(tokens, turned))
        return torch.cat([forwards, _reordered(backwards, turned)], dim=-1)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return vectors of shape (n, dimension)."""
        states = self.states(ids, mask)
        scores = self.scores(torch.tanh(self.inner(states)))
        lowest = torch.finfo(scores.dtype).min
        weights = torch.softmax(scores.masked_fill(mask.unsqueeze(-1) == 0, lowest), dim=1)
        weighted = weights.transpose(1, 2) @ states
        return functional.normalize(self.projection(weighted.flatten(1)), p=2.0, dim=1)


def _reversal(mask: Tensor) -> Tensor:
    """Return indices (n, length) that reverse each sequence in place, padding staying behind."""
    lengths = mask.sum(1, keepdim=True)
    positions = torch.arange(mask.shape[1], device=mask.device).unsqueeze(0)
    return torch.where(positions < lengths, lengths - 1 - positions, positions)


def _reordered(sequence: Tensor, indices: Tensor) -> Tensor:
    return sequence.gather(1, indices.unsqueeze(-1).expand(-1, -1, sequence.shape[2]))
