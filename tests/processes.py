"""What tests/test_distributed.py runs in several processes: torchrun ... tests/processes.py WHAT FOLDER."""

import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from pconv.losses import InpaintingLoss
from pconv.params import Terms
from pconv.training import distributed
from pconv.unet import PConvUNet, he_init


def gradients(folder, group):
    """Loss and gradients over a batch of 4 that the group shares, batch norm in evaluation mode, float64."""
    batch = load_file(folder / "batch.safetensors")
    ours = list(group.share(range(4)))
    model = he_init(PConvUNet(4, 3), 0).double().eval()
    loss = InpaintingLoss(Terms(), "random").double()
    gt, mask = batch["gt"][ours], batch["mask"][ours]
    network = group.parallel(model)  # it averages gradients only as long as it is there
    total, _ = loss(network(gt, mask), gt, mask)
    total.backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    found["loss"] = group.sum(total.detach()[None].clone()) / group.size
    if group.first:
        save_file(found, folder / f"gradients-{group.size}.safetensors")


def statistics(folder, group):
    """Every process has seen another batch; the first one's batch norm is the one that counts."""
    model = torch.nn.BatchNorm2d(2)
    with torch.no_grad():
        model.running_mean.fill_(group.rank + 5)
    group.copy_buffers(model)
    (folder / f"mean-{group.rank}").write_text(str(model.running_mean.tolist()))


def steps(folder, group):
    """One process has found a checkpoint, the other has not."""
    group.check_equal(7, torch.device("cpu"))
    group.check_equal(7 * group.rank, torch.device("cpu"))


def stuck(folder, group):
    (folder / f"joined-{group.rank}").touch()
    if group.rank == 1:
        time.sleep(10_000)
    group.sum(torch.ones(1))


if __name__ == "__main__":
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "stuck":
        distributed.TIMEOUT = timedelta(seconds=10)  # also to join
    with distributed.join() as group:
        {f.__name__: f for f in (gradients, statistics, steps, stuck)}[what](folder, group)
    distributed.end(group)
