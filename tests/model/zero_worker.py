"""One rank of the ZeRO test: steps CausalLMLoss under DeepSpeed and compares with plain autograd."""

from typing import Any

import deepspeed
import torch
import torch.distributed as dist

from longspan.model.load import load_model
from longspan.model.loss import CausalLMLoss
from longspan.model.positions import Positions, verify

ABF = Positions("abf", 500_000.0, 2.0, 256)
LENGTH, CHUNK = 48, 16


def main(path: str) -> None:
    """Run on each rank of a group; ``path`` is the model's folder."""
    torch.set_num_threads(1)
    deepspeed.ops.__compatible_ops__ = {}  # its shared-memory op would be compiled for minutes
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    deepspeed.init_distributed(dist_backend="gloo", dist_init_required=False)
    batches = [batch(number) for number in range(world)]
    expected, losses = by_autograd(path, batches)
    for stage in (1, 2, 3):
        for recompute in (False, True):
            engine = start(path, stage, recompute)
            own = engine.module.token_losses(*batches[rank])
            loss = engine(*batches[rank])
            torch.testing.assert_close(loss.detach(), losses[rank], rtol=1e-5, atol=0)
            torch.testing.assert_close(own.sum(), losses[rank], rtol=1e-5, atol=0)
            # DeepSpeed averages over ranks; a scale on the loss has to reach every gradient.
            engine.backward(loss * world)
            engine.step()
            compare(weights(engine, stage), expected, f"ZeRO-{stage}, recompute={recompute}")
            if rank == 0:
                print(f"ZeRO-{stage} recompute={recompute} agrees", flush=True)
    verify(start(path, 2, False, bf16=True).module, ABF)  # its cast leaves the frequencies alone
    dist.destroy_process_group()


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, 512, (1, LENGTH), generator=generator)
    positions = torch.cat([torch.arange(20), torch.arange(LENGTH - 20)])[None]
    labels = tokens.roll(-1, dims=1)
    labels[:, [19, LENGTH - 1]] = -100
    labels[:, : 20 * seed] = -100  # on one rank a whole chunk counts nothing
    return tokens, positions, labels


def by_autograd(path: str, batches: list[Any]) -> tuple[dict[str, torch.Tensor], list[Any]]:
    """Weights after one step of size 1 down the summed gradient, and each batch's loss."""
    model = CausalLMLoss(load_model(path, ABF, 512, "float32", "sdpa", False), 10_000)
    losses = [model(*one) for one in batches]
    torch.stack(losses).sum().backward()
    with torch.no_grad():
        stepped = {n: p - p.grad for n, p in model.named_parameters() if p.grad is not None}
    return stepped, [loss.detach() for loss in losses]


def start(path: str, stage: int, recompute: bool, bf16: bool = False) -> Any:
    model = CausalLMLoss(load_model(path, ABF, 512, "float32", "sdpa", recompute).train(), CHUNK)
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_clipping": 0.0,  # its default is 1
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": bf16},
        "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0},
    }
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    return deepspeed.initialize(model=model, optimizer=optimizer, config=config)[0]


def weights(engine: Any, stage: int) -> dict[str, torch.Tensor]:
    parameters = dict(engine.module.named_parameters())
    if stage < 3:
        return {name: p.detach().clone() for name, p in parameters.items()}
    with deepspeed.zero.GatheredParameters(list(parameters.values())):
        return {name: p.detach().clone() for name, p in parameters.items()}


def compare(found: dict[str, Any], expected: dict[str, Any], what: str) -> None:
    assert found.keys() == expected.keys(), f"{what}: {found.keys() ^ expected.keys()}"
    for name, value in expected.items():
        error = float((found[name] - value).norm() / value.norm())
        assert error < 1e-5, f"{what}: {name} is off by {error}"
