"""Two-stage training (Liu et al. 2018, section 4.2): batch norm everywhere, then with the encoder's frozen.

Called by notebooks/04-train.ipynb, or without a notebook:

    python -m pconv.train --stage 1
    torchrun --nproc-per-node=gpu -m pconv.train --stage 1      # on several GPUs or machines: docs/scaling.md
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys

import torch

from pconv.errors import PConvError
from pconv.params import Params, load_params
from pconv.progress import say
from pconv.project import state_folder
from pconv.training.distributed import end, join, launch
from pconv.training.trainer import Result, Trainer


def train(params: Params, stage: int) -> Result:
    """Train one stage to the end and write models/stage{stage}/{best,last}.safetensors.

    It takes as many processes of this machine as params.train.processes says, by default one per GPU. A run that was
    stopped or killed goes on from its newest checkpoint; call finish(stage) once the result has been used. Raises
    PConvError for what stands in the way, and KeyboardInterrupt, after a checkpoint, where it is told to stop.
    """
    processes = params.train.processes or torch.cuda.device_count()
    if processes > 1:  # they leave their last checkpoint, from which the trainer here takes the result
        launch("pconv.train", "--stage", str(stage), "--keep-checkpoint", processes=processes)
    return Trainer(params, stage).run()


def finish(stage: int) -> None:
    """Remove the checkpoints of a finished stage, so that its next run trains from the start."""
    shutil.rmtree(state_folder(stage), ignore_errors=True)


def main() -> None:
    """Train as the command line says, in one process or, under torchrun, as one of several."""
    parser = argparse.ArgumentParser(description="Train one stage with the parameters of params.yaml.")
    parser.add_argument("--stage", type=int, choices=(1, 2), required=True)
    parser.add_argument(
        "--keep-checkpoint", action="store_true", help="leave the last checkpoint, which holds the result"
    )
    options = parser.parse_args()
    try:
        with join() as group:
            result = Trainer(load_params(), options.stage, group).run()
    except (PConvError, ValueError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt as error:
        say(str(error) or "stopped")
        sys.exit(128 + signal.SIGINT)
    if result is not None:
        if not options.keep_checkpoint:
            finish(options.stage)
        print(json.dumps({**result.metrics, "timings": result.timings}, indent=2))
    end(group)


if __name__ == "__main__":
    main()
