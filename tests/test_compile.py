"""The denoiser as torch.compile sees it on a GPU: one graph, and the same numbers."""
import pytest
import torch

from emodiff.base.settings import load_preset
from emodiff.generator import layers
from emodiff.generator.denoiser import DenoiserNet

SIZES = {"channels": 32, "condition_channels": 16, "blocks_before": 1, "blocks_after": 1}


@pytest.mark.parametrize("changes", [
    {}, {"condition": "tokens", "dilation": 1, "positions": 0, "skip": False},
    {"norm": "none", "time": "add"}])
def test_one_graph(changes: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    "No graph break, forward and backward; outputs and gradients of the CPU's own way."
    torch.manual_seed(0)
    net = DenoiserNet(load_preset("smoke", denoiser={**SIZES, **changes}).denoiser, 384, 3)
    with torch.no_grad():
        for p in net.parameters():  # the last layer begins at zero: let all layers count
            p.add_(0.02 * torch.randn(p.shape))
    inputs = (torch.randn(2, 80, 64), torch.tensor([3, 900]), torch.randn(2, 3, 384),
              torch.tensor([[False] * 3, [True] * 3]))

    def run(call: object) -> list[torch.Tensor]:
        "The output and all gradients."
        net.zero_grad()
        out = call(*inputs)  # type: ignore[operator]
        (out * torch.linspace(0, 1, out.numel()).view(out.shape)).sum().backward()
        return [out.detach(), *(p.grad for p in net.parameters() if p.grad is not None)]

    wanted = run(net)
    monkeypatch.setattr(layers, "_on_cpu", lambda x: False)
    found = run(torch.compile(net, backend="aot_eager", fullgraph=True))
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm() + 1e-6


@pytest.mark.parametrize("condition, acts", [("joint", False), ("tokens", True)])
def test_what_attention_learns(condition: str, acts: bool) -> None:
    "With one vector the condition's queries and keys get no gradient; over tokens they do."
    torch.manual_seed(0)
    settings = load_preset("smoke", denoiser={**SIZES, "condition": condition}).denoiser
    vectors = torch.randn(4, 1 if condition == "joint" else 7, 384)
    net = DenoiserNet(settings, 384, vectors.shape[1])
    net.stem.condition(vectors).square().sum().backward()
    grad = net.stem.condition.qkv.weight.grad
    assert grad is not None
    queries, keys, values = grad.abs().amax(1).chunk(3)
    assert values.max() > 1e-4
    assert (min(queries.max(), keys.max()) > 1e-4) == acts
    assert acts or max(queries.max(), keys.max()) < 1e-6  # rounding


def test_padding_does_not_count() -> None:
    "Zeros behind the last token change nothing."
    torch.manual_seed(0)
    settings = load_preset("smoke", denoiser={**SIZES, "condition": "tokens"}).denoiser
    net, vectors = DenoiserNet(settings, 384, 5), torch.randn(2, 5, 384)
    longer = torch.cat([vectors, torch.zeros(2, 9, 384)], 1)
    for drop in (None, torch.tensor([[True], [False]])):
        torch.testing.assert_close(net.stem.condition(longer, drop),
                                   net.stem.condition(vectors, drop))
