"""What one worker may ask for: quantities read from the caller's form, and the limits of machines."""

import re
from dataclasses import dataclass
from decimal import Decimal

from model_engine_contracts.api.bundles import ModelBundleFlavor, TritonEnhancedRunnableImageFlavor
from model_engine_contracts.api.common import GpuType, Quantity
from model_engine_gateway.domain.invalid import Invalid

GI = 1 << 30
_SUFFIXES = {
    "": 1,
    **{letter: 1000**power for power, letter in enumerate("kMGTPE", 1)},
    **{f"{letter}i": 1024**power for power, letter in enumerate("KMGTPE", 1)},
}
_MOST = 10**20
"""Larger numbers are no quantities: a text has as many digits at most."""

_CPUS = re.compile(r"([0-9]{1,20})(m?)|([0-9]{1,20}\.[0-9]{1,20})")
_BYTES = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?)(" + "|".join(filter(None, _SUFFIXES)) + r")?")

SIDECAR_CPUS = Decimal(1)
SIDECAR_MEMORY = 2 * GI
SIDECAR_STORAGE = 10**9


@dataclass(frozen=True, slots=True)
class Machine:
    """What the largest machine of a kind offers to one worker: cores and bytes."""

    cpus: int
    memory: int
    storage: int


_MEDIUM = Machine(63, 250 * GI, 640 * GI)
_LARGE = Machine(95, 1000 * GI, 640 * GI)

MACHINES: dict[GpuType | None, Machine] = {
    None: Machine(7, 30 * GI, 640 * GI),
    GpuType.NVIDIA_TESLA_T4: _MEDIUM,
    GpuType.NVIDIA_AMPERE_A10: _MEDIUM,
    GpuType.NVIDIA_AMPERE_A100: _LARGE,
    GpuType.NVIDIA_AMPERE_A100E: _LARGE,
    GpuType.NVIDIA_HOPPER_H100: Machine(191, 2000 * GI, 1300 * GI),
    GpuType.NVIDIA_HOPPER_H100_1G_20GB: Machine(47, 500 * GI, 640 * GI),
    GpuType.NVIDIA_HOPPER_H100_3G_40GB: _LARGE,
}


def parse_cpus(value: Quantity) -> Decimal:
    """Cores of `1`, `1.5` or `100m`, or of a number. Raises ValueError."""
    if not isinstance(value, str):
        return Decimal(str(_bounded(value)))
    match = _CPUS.fullmatch(value)
    if match is None:
        raise ValueError(value)
    if match[3]:
        return Decimal(match[3])
    return Decimal(match[1]) / (1000 if match[2] else 1)


def parse_bytes(value: Quantity) -> int:
    """Bytes of `1024`, `1.5G` or `2Gi`, or of a number. Raises ValueError."""
    if not isinstance(value, str):
        return int(_bounded(value))
    match = _BYTES.fullmatch(value)
    if match is None:
        raise ValueError(value)
    return int(Decimal(match[1]) * _SUFFIXES[match[2] or ""])


def _bounded(number: float) -> float:
    if abs(number) > _MOST:
        raise ValueError(number)
    return number


def format_bytes(size: float) -> str:
    """Bytes with one decimal and the binary unit that fits: `248.0Gi`, `2.0Ti`."""
    for unit in ("", "Ki", "Mi", "Gi", "Ti", "Pi"):
        if size < 1024:
            return f"{size:.1f}{unit}"
        size /= 1024
    return f"{size:.1f}Ei"


def check_resources(
    flavor: ModelBundleFlavor,
    *,
    cpus: Quantity | None,
    memory: Quantity | None,
    storage: Quantity | None,
    gpus: int | None,
    gpu_type: GpuType | None,
) -> None:
    """Every quantity readable, positive, and within one machine beside the forwarder (and Triton).

    A null quantity is not checked: an update may leave it out. Raises Invalid.
    """
    if not gpus and gpu_type is not None:
        raise _invalid(f"Cannot have gpus={gpus} when gpu_type is not None")
    if gpus and gpu_type is None:
        raise _invalid("Must provide gpu_type if gpus > 0")
    machine = MACHINES[gpu_type]
    triton = flavor if isinstance(flavor, TritonEnhancedRunnableImageFlavor) else None
    _check_cpus(cpus, machine, gpu_type, triton)
    for name, value, limit, sidecar, extra in (
        ("memory", memory, machine.memory, SIDECAR_MEMORY, triton.triton_memory if triton else None),
        ("storage", storage, machine.storage, SIDECAR_STORAGE, triton.triton_storage if triton else None),
    ):
        if value is None:
            continue
        requested = _read_bytes(name, value)
        beside = sidecar + (_read_bytes(f"triton_{name}", extra) if extra is not None else 0)
        if requested + beside > limit:
            raise _too_high(name, str(requested + beside), gpu_type, format_bytes(max(0, limit - beside)))
    if triton and not gpus:
        raise _invalid("Triton deployments require at least one GPU")
    if triton and gpu_type is None:
        raise _invalid("Triton deployments require a specific GPU machine type")


def _check_cpus(
    value: Quantity | None,
    machine: Machine,
    gpu_type: GpuType | None,
    triton: TritonEnhancedRunnableImageFlavor | None,
) -> None:
    if value is None:
        return
    try:
        requested = parse_cpus(value)
    except ValueError as error:
        raise _invalid(f"Requested cpus='{value}' is incorrectly formatted") from error
    if requested <= 0:
        raise _invalid("Requested cpus must be positive")
    beside = SIDECAR_CPUS
    if triton:
        if not triton.triton_num_cpu >= 1:
            raise _invalid("Triton deployments require at least one CPU")
        beside += Decimal(str(triton.triton_num_cpu))
    if requested + beside > machine.cpus:
        total, most = requested + beside, max(Decimal(0), machine.cpus - beside)
        raise _too_high("cpus", f"{total.normalize():f}", gpu_type, f"{most.normalize():f}")


def _read_bytes(name: str, value: Quantity) -> int:
    try:
        size = parse_bytes(value)
    except ValueError as error:
        raise _invalid(f"Requested {name}='{value}' is incorrectly formatted") from error
    if size <= 0:
        raise _invalid(f"Requested {name} must be positive")
    return size


def _too_high(name: str, total: str, gpu_type: GpuType | None, maximum: str) -> Invalid:
    kind = repr(gpu_type.value) if gpu_type else "None"
    return _invalid(f"Requested {name}={total} too high. The maximum for gpu_type={kind} is {maximum}")


def _invalid(text: str) -> Invalid:
    return Invalid(text, "invalid_resources")
