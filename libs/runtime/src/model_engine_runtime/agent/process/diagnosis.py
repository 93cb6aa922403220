"""Why a model server that runs is not ready: it does not listen, listens elsewhere, or answers with an error."""

import psutil

from model_engine_chassis.upstream import ConnectFailed, UpstreamError, UpstreamPool
from model_engine_contracts.failures import Reason
from model_engine_runtime.protocol import Failure

HOST = "127.0.0.1"


async def diagnose(pool: UpstreamPool, root: int, port: int, path: str, seconds: float, log_tail: str) -> Failure:
    """The failure of a model server (first process `root`) that was not ready after `seconds`."""
    try:
        async with pool.request(HOST, port, b"GET", path.encode()) as answer:
            status = answer.status
    except ConnectFailed:
        if elsewhere := listening_ports(root) - {port}:
            message = f"The model server listens on {_list(elsewhere)}, not on the port that PORT names ({port})."
            return Failure(Reason.PORT_CLOSED, message, log_tail=log_tail)
        message = f"The model server did not listen on its port within {seconds:g} s."
        return Failure(Reason.NEVER_READY, message, log_tail=log_tail)
    except UpstreamError as error:
        message = f"GET {path} of the model server did not answer within {seconds:g} s of its start: {error}"
        return Failure(Reason.NEVER_READY, message, log_tail=log_tail)
    if status != 200:
        message = f"GET {path} of the model server answers {status} instead of 200."
        return Failure(Reason.PROBE_FAILED, message, log_tail=log_tail)
    message = f"The model server answers, but the forwarder was not ready within {seconds:g} s."
    return Failure(Reason.NEVER_READY, message, log_tail=log_tail)


def listening_ports(root: int) -> set[int]:
    """TCP ports on which a process or its descendants listen."""
    try:
        process = psutil.Process(root)
        tree = [process, *process.children(recursive=True)]
        connections = [connection for member in tree for connection in member.net_connections("tcp")]
    except psutil.Error:
        return set()
    return {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}


def _list(ports: set[int]) -> str:
    return "port " + ", ".join(str(port) for port in sorted(ports))
