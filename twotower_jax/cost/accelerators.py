"""Accelerators as their data sheets describe them: limits, not measurements."""

from typing import NamedTuple

GB, TERA = 10**9, 10**12


class Accelerator(NamedTuple):
    """One accelerator, as the vendor's data sheet of that name states it.

    Attributes:
      name: of the product and its data sheet.
      memory: bytes.
      bandwidth: bytes per second of its memory.
      bf16_flop: FLOP per second of dense products in bfloat16, without sparsity.
      fp32_flop: FLOP per second in float32; None where none is stated.
      link: bytes per second to other devices, both directions together.
    """

    name: str
    memory: int
    bandwidth: float
    bf16_flop: float
    fp32_flop: float | None
    link: float


ACCELERATORS = (
    Accelerator("NVIDIA L4", 24 * GB, 0.3 * TERA, 121 * TERA, 30.3 * TERA, 64 * GB),
    Accelerator(
        "NVIDIA A100 80GB SXM",
        80 * GB,
        2.039 * TERA,
        312 * TERA,
        19.5 * TERA,
        600 * GB,
    ),
    Accelerator(
        "NVIDIA H100 SXM", 80 * GB, 3.35 * TERA, 989 * TERA, 67 * TERA, 900 * GB
    ),
    Accelerator(
        "NVIDIA H200 SXM", 141 * GB, 4.8 * TERA, 989 * TERA, 67 * TERA, 900 * GB
    ),
    Accelerator("Google TPU v5e", 16 * GB, 0.819 * TERA, 197 * TERA, None, 200 * GB),
    Accelerator("Google TPU v5p", 95 * GB, 2.765 * TERA, 459 * TERA, None, 600 * GB),
)
