"""Rows of section 3.5: what one worker may ask for, beside the forwarder (1 core, 2Gi, 1G) and Triton."""

from typing import Any

from api_rules.requests import GPU, creation, then_read, update
from api_rules.row import Holding, Row, Unchecked, problem, refusal, rule_of

CHECK = rule_of("domain.endpoint_changes", "check_resources")


def _both(rule: str, change: dict[str, Any], text: str, **more: Any) -> list[Row]:
    answer = refusal(text, "invalid_resources")
    return [
        creation("3.5", rule, change, answer, off=CHECK, **more),
        update("3.5", rule, change, answer, off=CHECK, kind="gpu" if "gpu_type" in change else "new", **more),
    ]


def _created(rule: str, change: dict[str, Any], text: str) -> Row:
    return creation("3.5", rule, change, refusal(text, "invalid_resources"), off=CHECK)


def _too_high(name: str, total: Any, gpu_type: str | None, most: str) -> str:
    return f"Requested {name}={total} too high. The maximum for gpu_type={gpu_type!r} is {most}"


_GI, _G = 1 << 30, 10**9

MACHINES = [
    (None, 7, 30, "28.0Gi", 640, "639.1Gi"),
    ("nvidia-tesla-t4", 63, 250, "248.0Gi", 640, "639.1Gi"),
    ("nvidia-ampere-a10", 63, 250, "248.0Gi", 640, "639.1Gi"),
    ("nvidia-ampere-a100", 95, 1000, "998.0Gi", 640, "639.1Gi"),
    ("nvidia-ampere-a100e", 95, 1000, "998.0Gi", 640, "639.1Gi"),
    ("nvidia-hopper-h100", 191, 2000, "2.0Ti", 1300, "1.3Ti"),
    ("nvidia-hopper-h100-1g20gb", 47, 500, "498.0Gi", 640, "639.1Gi"),
    ("nvidia-hopper-h100-3g40gb", 95, 1000, "998.0Gi", 640, "639.1Gi"),
]


def _machine_rows() -> list[Row]:
    rows = []
    for kind, cpus, memory, memory_text, storage, storage_text in MACHINES:
        gpu = {"gpus": 1, "gpu_type": kind} if kind else {}
        most = {**gpu, "cpus": str(cpus - 1), "memory": f"{memory - 2}Gi", "storage": storage * _GI - _G}
        rows += [
            creation("3.5", f"the whole of a machine, {kind}", most),
            _created(f"cores of {kind}", {**most, "cpus": cpus}, _too_high("cpus", cpus + 1, kind, str(cpus - 1))),
            _created(
                f"memory of {kind}",
                {**most, "memory": f"{memory}Gi"},
                _too_high("memory", (memory + 2) * _GI, kind, memory_text),
            ),
            _created(
                f"storage of {kind}",
                {**most, "storage": f"{storage}Gi"},
                _too_high("storage", storage * _GI + _G, kind, storage_text),
            ),
        ]
    return rows


_TRITON = {"model_bundle_id": "<bundle:triton>", **GPU}
TRITON = [
    creation("3.5", "Triton and worker fill a machine", {**_TRITON, "cpus": "58", "memory": "238Gi"}),
    _created("cores of Triton count", {**_TRITON, "cpus": "59"}, _too_high("cpus", 64, GPU["gpu_type"], "58")),
    _created(
        "memory of Triton counts",
        {**_TRITON, "memory": "239Gi"},
        _too_high("memory", 251 * _GI, GPU["gpu_type"], "238.0Gi"),
    ),
    _created(
        "storage of Triton counts",
        {**_TRITON, "storage": 640 * _GI - 10 * _G},
        _too_high("storage", 640 * _GI + _G, GPU["gpu_type"], "629.8Gi"),
    ),
    _created(
        "Triton needs a core, said before memory (14)",
        {**_TRITON, "model_bundle_id": "<bundle:triton-idle>", "memory": "?"},
        "Triton deployments require at least one CPU",
    ),
    _created(
        "Triton needs a GPU, said last (14)",
        {"model_bundle_id": "<bundle:triton>"},
        "Triton deployments require at least one GPU",
    ),
    _created(
        "memory before Triton's GPU (14)",
        {"model_bundle_id": "<bundle:triton>", "memory": "?"},
        "Requested memory='?' is incorrectly formatted",
    ),
    update(
        "3.5",
        "a bundle with Triton needs a GPU",
        {"model_bundle_id": "<bundle:triton>"},
        refusal("Triton deployments require at least one GPU", "invalid_resources"),
        off=CHECK,
    ),
]

FORMS = [
    *_both(
        "GPU type without GPUs",
        {"gpu_type": "nvidia-ampere-a10", "gpus": 0},
        "Cannot have gpus=0 when gpu_type is not None",
    ),
    *_both("GPUs without their type", {"gpus": 1}, "Must provide gpu_type if gpus > 0"),
    update(
        "3.5",
        "null takes part",
        {"gpus": None, "gpu_type": "nvidia-ampere-a10"},
        refusal("Cannot have gpus=None when gpu_type is not None", "invalid_resources"),
        off=CHECK,
    ),
    update(
        "6.3",
        "an explicit null type on GPUs",
        {"gpu_type": None},
        refusal("Must provide gpu_type if gpus > 0", "invalid_resources"),
        off=CHECK,
        kind="gpu",
    ),
    creation(
        "3.5",
        "unknown GPU type",
        {"gpus": 1, "gpu_type": "abacus"},
        problem(
            "enum",
            ["body", "gpu_type"],
            "Input should be 'nvidia-tesla-t4', 'nvidia-ampere-a10', 'nvidia-ampere-a100', 'nvidia-ampere-a100e', "
            "'nvidia-hopper-h100', 'nvidia-hopper-h100-1g20gb' or 'nvidia-hopper-h100-3g40gb'",
            "abacus",
            {
                "expected": "'nvidia-tesla-t4', 'nvidia-ampere-a10', 'nvidia-ampere-a100', 'nvidia-ampere-a100e', "
                "'nvidia-hopper-h100', 'nvidia-hopper-h100-1g20gb' or 'nvidia-hopper-h100-3g40gb'"
            },
        ),
        422,
        Unchecked("CreateModelEndpointV1Request", "gpu_type"),
    ),
    *(
        row
        for name, wrong in (("cpus", "1Gi"), ("memory", "1 GB"), ("storage", "-1"))
        for row in _both(f"form of {name}", {name: wrong}, f"Requested {name}='{wrong}' is incorrectly formatted")
    ),
    *(
        row
        for name in ("cpus", "memory", "storage")
        for value in (0, -1, "0")
        for row in _both(f"{name} {value!r}", {name: value}, f"Requested {name} must be positive")
    ),
    *_both("order: GPU before cores", {"gpus": 1, "cpus": "?"}, "Must provide gpu_type if gpus > 0"),
    *_both("order: cores before memory", {"cpus": "?", "memory": "?"}, "Requested cpus='?' is incorrectly formatted"),
    *_both(
        "order: memory before storage", {"memory": "?", "storage": "?"}, "Requested memory='?' is incorrectly formatted"
    ),
    creation("3.5", "millicores and decimal suffixes", {"cpus": "500m", "memory": "1.5G", "storage": "10k"}),
    creation("3.5", "numbers are cores and bytes", {"cpus": 0.5, "memory": 1 << 20, "storage": 1e6}),
    then_read(
        "3.5",
        "quantities keep the caller's form",
        {"cpus": "1.50", "memory": 1073741824, "storage": "2.0G"},
        Holding({"resource_state": Holding({"cpus": "1.50", "memory": 1073741824, "storage": "2.0G"})}),
    ),
    update("3.5", "null keeps a quantity", {"cpus": None, "memory": None, "storage": None}),
]

ROWS = [*FORMS, *_machine_rows(), *TRITON]
