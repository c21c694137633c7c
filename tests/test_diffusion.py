"""The ends of the chain: nothing overflows, whatever the network says, and short chains work."""
import pytest
import torch

from emodiff.base.settings import Diffusion
from emodiff.generator.diffusion import (
    losses,
    make_chain,
    p_mean_variance,
    q_sample,
    training_target,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("predict", ["eps", "v", "x0", "edm"])
@pytest.mark.parametrize("loss", ["hybrid", "vlb"])
def test_finite_at_both_ends(dtype: torch.dtype, predict: str, loss: str) -> None:
    "Losses, gradients and the step back are finite for a very wrong network."
    generator = torch.Generator().manual_seed(5)
    chain = make_chain(Diffusion(predict=predict, loss=loss))
    t = torch.tensor([3999, 3998, 0, 0])
    x0 = torch.rand(4, 80, 32, generator=generator) * 2 - 1
    noise = torch.randn(4, 80, 32, generator=generator)
    x_t = q_sample(chain, x0, t, noise)
    out = (3 * torch.randn(4, 160, 32, generator=generator)).to(dtype).requires_grad_()
    terms = losses(chain, out, x0, t, noise)
    terms["loss"].mean().backward()
    step = p_mean_variance(chain, out.detach(), x_t.to(dtype), t)
    assert out.grad is not None
    for value in (*terms.values(), out.grad, *step):
        assert torch.isfinite(value).all()
    assert step[0].dtype == torch.float32 and float(step[3].abs().max()) <= 1


@pytest.mark.parametrize("steps, kept", [(1, None), (4000, [0]), (4000, [3999]), (2, None)])
def test_shortest_chains(steps: int, kept: list[int] | None) -> None:
    "A perfect guess of the last step lands on x_0, also in a chain of one step."
    generator = torch.Generator().manual_seed(5)
    chain = make_chain(Diffusion(steps=steps), kept)
    x0 = torch.rand(2, 80, 8, generator=generator)
    noise = torch.randn(2, 80, 8, generator=generator)
    t = torch.zeros(2, dtype=torch.long)
    x_t = q_sample(chain, x0, t, noise)
    out = torch.cat([training_target(chain, x0, t, noise), torch.zeros_like(x0)], 1)
    mean = p_mean_variance(chain, out, x_t, t)[0]
    assert float((mean - x0).abs().max()) < 1e-4
    assert all(torch.isfinite(v).all() for v in losses(chain, out, x0, t, noise).values())


def test_reduced_precision_is_computed_in_float32() -> None:
    "Segments in half precision are noised in float32, with float32 tables."
    chain = make_chain(Diffusion(steps=10))
    x0 = torch.zeros(1, 80, 8, dtype=torch.float16)
    assert q_sample(chain, x0, torch.tensor([3]), x0).dtype == torch.float32
    assert chain.tables["abar"].dtype == "float64"
