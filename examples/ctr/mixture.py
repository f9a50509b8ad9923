r"""A mixture density layer over the logit of the click-through rate.

Source: Bishop, "Mixture Density Networks", 1994. The network gives, for each row, the weights,
means and widths of K Gaussians over z, the logit of the CTR:

    p(z) = sum_k w_k N(z; m_k, s_k)

A CTR is never observed; clicks are. One impression identifies only the mean of p, so impressions
are gathered into cells (item, segment, part of the day): c clicks among n impressions. Within a
cell the CTR is one number, so c is binomial given z, and its likelihood is a mixture of binomials

    P(c | n) = sum_k w_k  ∫ N(z; m_k, s_k) Binomial(c; n, sigmoid(z)) dz

Each integral is a Gauss-Hermite sum: with nodes x_q and weights v_q of the weight function
exp(-x²), substituting z = m_k + sqrt(2) s_k x gives

    ∫ N(z; m, s) f(z) dz ≈ 1/sqrt(pi) sum_q v_q f(m + sqrt(2) s x_q)

All in logarithms. The loss is -log P(c | n). The expected CTR is the same sum with f = sigmoid.
The CDF is exact, since the logit rises: F(ctr) = sum_k w_k Phi((logit ctr - m_k) / s_k).

The sum is the integral to three digits up to n of some hundred and s of 1; for larger cells a
binomial is narrower than the nodes are apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

COMPONENTS = 3
_NODES = 32
_NARROWEST = 0.02
_BISECTIONS = 40
_LARGEST_LOGIT = 20.0


@dataclass(frozen=True)
class Mixture:
    """Distributions over the logit of the CTR; tensors of shape (n, components).

    Attributes:
        log_weight: logarithms of the weights, which add up to one in each row.
        mean: of each component.
        sigma: its width, above 0.
    """

    log_weight: Tensor
    mean: Tensor
    sigma: Tensor

    def log_likelihood(self, clicks: Tensor, impressions: Tensor) -> Tensor:
        """Return log P(clicks | impressions), shape (n,).

        Args:
            clicks: of each row, floating, shape (n,).
            impressions: of each row, the same.
        """
        logit, log_mass = self._nodes()
        count, total = clicks[:, None, None], impressions[:, None, None]
        log_binomial = (
            torch.lgamma(total + 1) - torch.lgamma(count + 1) - torch.lgamma(total - count + 1)
        )
        log_binomial = log_binomial + count * functional.logsigmoid(logit)
        log_binomial = log_binomial + (total - count) * functional.logsigmoid(-logit)
        return torch.logsumexp((log_mass + log_binomial).flatten(1), dim=1)

    def expected(self) -> Tensor:
        """Return the expected CTR, shape (n,)."""
        logit, log_mass = self._nodes()
        expected: Tensor = (log_mass.exp() * torch.sigmoid(logit)).sum(dim=(1, 2))
        return expected

    def cdf(self, ctr: Tensor) -> Tensor:
        """Return the probability that the CTR is at most `ctr`, which is above 0 and below 1.

        Of the true CTR this is uniform on 0 to 1 if the distributions are honest.
        """
        return self._cdf_of_logit(torch.logit(ctr))

    def quantile(self, level: float) -> Tensor:
        """Return the CTR that lies above a share `level` of the distribution, shape (n,)."""
        low = torch.full_like(self.mean[:, 0], -_LARGEST_LOGIT)
        high = -low
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            below = self._cdf_of_logit(middle) < level
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return torch.sigmoid((low + high) / 2)

    def _cdf_of_logit(self, logit: Tensor) -> Tensor:
        standard = (logit.unsqueeze(1) - self.mean) / self.sigma
        below: Tensor = (self.log_weight.exp() * torch.special.ndtr(standard)).sum(dim=1)
        return below

    def _nodes(self) -> tuple[Tensor, Tensor]:
        """Return logits and logarithms of their masses, both (n, components, nodes)."""
        places, masses = np.polynomial.hermite.hermgauss(_NODES)
        at = torch.as_tensor(places * math.sqrt(2), dtype=self.mean.dtype)
        log_mass = torch.as_tensor(np.log(masses / math.sqrt(math.pi)), dtype=self.mean.dtype)
        logit = self.mean.unsqueeze(2) + self.sigma.unsqueeze(2) * at
        return logit, self.log_weight.unsqueeze(2) + log_mass


class MixtureLayer(nn.Module):
    """Features to mixtures.

    Args:
        features: length of a row.
        base: the logit around which the components begin.
        components: how many Gaussians.
    """

    def __init__(self, features: int, base: float, components: int = COMPONENTS) -> None:
        super().__init__()
        self.parameters_of = nn.Linear(features, 3 * components)
        with torch.no_grad():
            self.parameters_of.weight.mul_(0.1)
            weight, mean, width = self.parameters_of.bias.chunk(3)
            weight.zero_()
            mean.copy_(torch.linspace(-0.5, 0.5, components) + base)
            width.fill_(-0.5)

    def forward(self, features: Tensor) -> Mixture:
        """Return a mixture for each row of (n, features)."""
        weight, mean, width = self.parameters_of(features).chunk(3, dim=1)
        sigma = functional.softplus(width) + _NARROWEST
        return Mixture(torch.log_softmax(weight, dim=1), mean, sigma)
