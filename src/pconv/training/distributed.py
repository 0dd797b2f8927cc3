"""The processes that train together: started by torchrun, one per GPU, or several on a CPU.

They go through the same steps; each takes its share of every batch, and PyTorch's DistributedDataParallel gives all the
mean of their gradients. A process that dies ends the others: at once under torchrun, after TIMEOUT at the latest.
"""

from __future__ import annotations

import codecs
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from pconv.errors import PConvError
from pconv.training.signals import LAUNCHED, Stop

TIMEOUT = timedelta(minutes=5)  # how long a process waits for the others
LISTEN_SECONDS = 0.5  # how long a wish to stop may wait while nothing is printed


class DistributedError(PConvError, RuntimeError):
    """Processes that cannot train together; the message says what to do."""


@dataclass(frozen=True)
class Group:
    """Processes that train together, as seen from one of them; by default it is alone."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one process that writes: checkpoints, weights, curves, progress."""
        return self.rank == 0

    def share(self, batch: range) -> range:
        """This process's part of a batch of sample numbers."""
        each = len(batch) // self.size
        return batch[self.rank * each : (self.rank + 1) * each]

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, to the bit the same in each. Blocks until all have called it."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def parallel(self, model: nn.Module) -> nn.Module:
        """The network whose gradients are the mean over all processes; it shares its weights with `model`."""
        if self.size == 1:
            return model
        device = next(model.parameters()).device
        return DistributedDataParallel(
            model,
            device_ids=[device] if device.type == "cuda" else None,
            broadcast_buffers=False,  # copy_buffers does, where they are used
            gradient_as_bucket_view=True,
        )

    def copy_buffers(self, model: nn.Module) -> None:
        """Give all processes the first one's batch norm statistics: its are the ones that are kept."""
        if self.size > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, src=0)

    def check_equal(self, step: int, device: torch.device) -> None:
        """Raise DistributedError unless all processes start from the same step; also waits for all to be there."""
        steps = torch.tensor([step, -step], device=device)
        if self.size > 1:
            distributed.all_reduce(steps, op=distributed.ReduceOp.MAX)
        if steps[0] != -steps[1]:
            raise DistributedError(
                f"some processes found a checkpoint of step {steps[0]}, others one of step {-steps[1]}: all machines "
                "have to share the project's folder"
            )


ALONE = Group()


@contextmanager
def join():
    """The group that torchrun's environment describes; without torchrun, a process on its own."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield ALONE
        return
    if torch.cuda.is_available():
        device = int(os.environ["LOCAL_RANK"])
        if device >= torch.cuda.device_count():
            raise DistributedError(
                f"torchrun started more processes here than there are GPUs ({torch.cuda.device_count()}): give it "
                "--nproc-per-node=gpu"
            )
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    yield Group(distributed.get_rank(), distributed.get_world_size())
    distributed.destroy_process_group()  # not after an error: the others may never answer


def end(group: Group) -> None:
    """End a process whose work is done; one of several ends at once, without Python's finalisation.

    DistributedDataParallel leaves threads of the group behind (PyTorch 2.15), and about one finalisation in a hundred
    then aborted the process. torchrun takes that for a failure and ends the others, which may still be writing.
    """
    if group.size > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def launch(module: str, *arguments: str, processes: int) -> None:
    """Run `python -m module` in several processes of this machine, and hand on what they print.

    A notebook cannot fork: its kernel has threads, and maybe a GPU in use. A wish to stop is handed on, too; then the
    processes are waited for, as they may have to save, and KeyboardInterrupt is raised. Raises DistributedError if a
    process fails.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    source = str(Path(__file__).parents[2])  # this copy of the code, whatever is installed
    path = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    child = {
        "args": [*torchrun, "-m", module, *arguments],
        "env": os.environ | {"PYTHONPATH": path, LAUNCHED: str(os.getpid())},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "start_new_session": True,  # a signal to all processes of this session would reach it twice
    }
    with Stop() as stop, subprocess.Popen(**child) as child:
        for text in _read_output(child, stop):
            print(text, end="", file=sys.stderr, flush=True)
    if stop.agreed:
        raise KeyboardInterrupt("stopped; run again to go on from there")
    if child.returncode:
        raise DistributedError(
            f"{processes} processes of {module} ended with status {child.returncode}; what they said stands above"
        )


def _read_output(child: subprocess.Popen, stop: Stop) -> Iterator[str]:
    """Yield what a process prints until it ends; once a stop is asked for, tell the process."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while True:
        if stop.asked and not stop.agreed:
            stop.agreed = True
            child.terminate()
        if select.select([child.stdout], [], [], LISTEN_SECONDS)[0]:
            some = os.read(child.stdout.fileno(), 4096)  # not line by line: progress may redraw one
            if not some:
                return
            yield decoder.decode(some)
