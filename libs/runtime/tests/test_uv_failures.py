"""What uv says, and what it means. The texts are those of uv itself."""

import pytest

from model_engine_contracts.failures import Reason
from model_engine_runtime.agent.process.uv_failures import failure_of_uv

UNRESOLVABLE = """\
Using Python 3.11.7 environment at: v
error: No solution found when resolving dependencies
  cause: Because you require numpy==1.26.4 and numpy==2.0.0, we can conclude that your requirements are unsatisfiable.
"""
UNPARSABLE = """\
error: Couldn't parse requirement in `r.txt` at position 0
  cause: Expected one of `@`, `(`, `<`, `=`, `>`, `~`, `!`, `;`, found `a`
         not a requirement !!
             ^
"""
UNREACHABLE = """\
Using Python 3.11.7 environment at: v
error: Request failed after 3 retries in 10.4s
  cause: Failed to fetch: https://example.org/simple/six/
  cause: error sending request for url (https://example.org/simple/six/)
  cause: Connection refused (os error 111)
"""
BROKEN = """\
Using Python 3.11.7 environment at: v
error: The build backend returned an error
  cause: Call to `setuptools.build_meta:__legacy__.get_requires_for_build_wheel` failed (exit status: 1)

         [stderr]
         boom here
"""
FULL = """\
warning: Failed to hardlink files; falling back to full copy. This may lead to degraded performance.
error: Failed to install: numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.whl (numpy==2.4.6)
  cause: failed to copy file from a to b: No space left on device (os error 28)
"""
NO_PYTHON = "error: No interpreter found for Python 3.99 in managed installations or search path\n"


@pytest.mark.parametrize(
    ("output", "reason", "message"),
    [
        (UNRESOLVABLE, Reason.REQUIREMENTS_UNRESOLVABLE, "you require numpy==1.26.4 and numpy==2.0.0"),
        (UNPARSABLE, Reason.REQUIREMENTS_UNRESOLVABLE, "not a requirement !!"),
        (UNREACHABLE, Reason.REGISTRY_UNAVAILABLE, "Connection refused"),
        (BROKEN, Reason.BUILD_FAILED, "The build backend returned an error: Call to"),
        (FULL, Reason.DISK_FULL, "No space left on device"),
        (NO_PYTHON, Reason.PYTHON_MISMATCH, "No interpreter found for Python 3.99"),
        ("nothing that we know\n", Reason.BUILD_FAILED, "uv exited with code 2"),
    ],
)
def test_reason_and_message(output, reason, message):
    failure = failure_of_uv(output, 2)
    assert failure.reason is reason
    assert message in failure.message
    assert "\n" not in failure.message
    assert (failure.exit_code, failure.log_tail) == (2, output)
