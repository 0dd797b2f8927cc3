"""Where training runs, and in which precision."""

from __future__ import annotations

import ctypes
import platform
from dataclasses import dataclass

import torch
from torch import Tensor

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


@dataclass(frozen=True)
class Hardware:
    """Where training runs, and in which precision."""

    device: torch.device
    precision: str

    @classmethod
    def choose(cls, precision: str) -> Hardware:
        """Choose the GPU if there is one. Precision auto is bfloat16 where it is multiplied faster, else float32."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if precision == "auto":
            fast = torch.cuda.is_bf16_supported(False) if device.type == "cuda" else _fast_bfloat16_on_cpu()
            precision = "bfloat16" if fast else "float32"
        return cls(device, precision)

    def autocast(self):
        """Return a context in which networks compute in the precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def load(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return a batch of uint8 samples as images in [0, 1], channels_last, and masks, both float32 on the device."""
        image, mask = (part.to(self.device, non_blocking=True).float() for part in batch)
        return (image / 255).contiguous(memory_format=torch.channels_last), mask


def exact_convolutions():
    """Return a context in which a GPU's convolutions keep the precision of float32 and are the same in every run."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def keep_memory() -> None:
    """Let this process keep the memory that it frees, for the next step of training: on Linux with glibc only.

    By default glibc hands each large block back to the system and gets it again as pages of zeros. At 512 px that takes
    as long as the convolutions. A GPU has PyTorch's own allocator, which keeps its memory anyway.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _fast_bfloat16_on_cpu() -> bool:
    """Whether the processor has instructions for bfloat16. PyTorch before 2.15 does not tell, so there it is False."""
    tell = getattr(torch.cpu, "get_capabilities", dict)
    return any(tell().get(name, False) for name in ("avx512_bf16", "amx_tile"))
