"""Processes that train together, started by torchrun: one for each GPU, or several on a CPU.

They take the same steps, each with its share of every batch, and PyTorch's DistributedDataParallel gives all of them
the mean of their gradients. When a process dies the others end too: at once under torchrun, otherwise after TIMEOUT.
"""

from __future__ import annotations

import codecs
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from pconv.errors import PConvError
from pconv.training.signals import LAUNCHED, Stop

TIMEOUT = timedelta(minutes=5)  # how long a process waits for the others
LOOK_SECONDS = 0.1  # between two looks at what processes have printed
PATIENCE = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "600"}  # s from SIGTERM to SIGKILL; 30 may be less than a step on a CPU


class DistributedError(PConvError):
    """Processes that cannot train together; the message says what to do."""


@dataclass(frozen=True)
class Group:
    """Processes that train together, as one of them sees them; by default it is alone."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes checkpoints, weights, curves and progress."""
        return self.rank == 0

    def share(self, batch: range) -> range:
        """Return this process's part of a batch of sample numbers."""
        each = len(batch) // self.size
        return batch[self.rank * each : (self.rank + 1) * each]

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all processes, equal to the bit in each of them, once all have called it."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def parallel(self, model: nn.Module) -> nn.Module:
        """Return a network that shares the weights of `model` and gives them the mean gradients of all processes."""
        if self.size == 1:
            return model
        device = next(model.parameters()).device
        return DistributedDataParallel(
            model,
            device_ids=[device] if device.type == "cuda" else None,
            broadcast_buffers=False,  # copy_buffers does it, where they are used
            gradient_as_bucket_view=True,
        )

    def copy_buffers(self, model: nn.Module) -> None:
        """Give all processes the batch norm statistics of the first, since those are the ones that are kept."""
        if self.size > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, src=0)

    def check_equal(self, step: int, device: torch.device) -> None:
        """Raise DistributedError, once all have called it, unless all processes start from the same step."""
        steps = torch.tensor([step, -step], device=device)
        if self.size > 1:
            distributed.all_reduce(steps, op=distributed.ReduceOp.MAX)
        if steps[0] != -steps[1]:
            raise DistributedError(
                f"some processes found a checkpoint of step {steps[0]}, others one of step {-steps[1]}: all machines "
                "have to share the project's folder"
            )

    def wait(self) -> None:
        """Return once all processes have called it."""
        if self.size > 1:
            distributed.barrier()


ALONE = Group()


@contextmanager
def join():
    """Enter the group that torchrun's environment describes; without torchrun, a process is alone."""
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

    DistributedDataParallel leaves threads of the group behind (PyTorch 2.15), which made about one finalisation in a
    hundred abort. torchrun takes that for a failure and ends the others, which may still be writing.
    """
    if group.size > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def launch(module: str, *arguments: str, processes: int) -> None:
    """Run `python -m module` in several processes of this machine, and hand on what they print.

    A notebook cannot fork: its kernel has threads, and maybe a GPU in use. Where this process is asked to stop, so are
    they; they are waited for, as they have to save, and KeyboardInterrupt is raised. Raises DistributedError if one of
    them fails.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command, source = [*torchrun, "-m", module, *arguments], str(Path(__file__).parents[2])
    path = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])  # this copy, whatever is installed
    options = {
        "env": PATIENCE | os.environ | {"PYTHONPATH": path, LAUNCHED: str(os.getpid())},
        "stderr": subprocess.STDOUT,
        "start_new_session": True,  # or a signal to all processes of this session would reach it twice
    }
    # Not a pipe: one that nobody reads any more would end the processes before they have saved.
    with Stop() as stop, TemporaryFile() as output, subprocess.Popen(command, stdout=output, **options) as child:
        for text in _follow(child, output.fileno(), stop):
            print(text, end="", file=sys.stderr, flush=True)
    if stop.agreed:
        raise KeyboardInterrupt("stopped; run again to go on from there")
    if child.returncode:
        raise DistributedError(
            f"{processes} processes of {module} ended with status {child.returncode}; what they said stands above"
        )


def _follow(child: subprocess.Popen, output: int, stop: Stop) -> Iterator[str]:
    """Yield what a process writes to a file until it ends. Once this process should stop, that one is told to."""
    decoder, position = codecs.getincrementaldecoder("utf-8")("replace"), 0
    while True:
        ended = child.poll() is not None  # asked first: what it wrote at last is then read
        if stop.asked and not stop.agreed:
            stop.agreed = True
            child.terminate()
        if some := os.pread(output, 2**16, position):  # read moves the place at which the process writes
            position += len(some)
            yield decoder.decode(some)
        elif ended:
            return
        else:
            time.sleep(LOOK_SECONDS)
