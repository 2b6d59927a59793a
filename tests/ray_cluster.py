"""A Ray cluster of two nodes on this machine, a program of its own: `python -m tests.ray_cluster`.

It prints the cluster's address, removes the second node when a line arrives on its input, prints "removed", and ends
when its input ends.
"""

from __future__ import annotations

import socket
import sys

import ray
from ray.cluster_utils import Cluster

AGENTS = ("metrics_agent_port", "metrics_export_port", "runtime_env_agent_port", "dashboard_agent_listen_port")
QUIET = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}


def node() -> dict[str, int | str]:
    """Settings of a node. Agents get ports, because Ray waits 15 s at most for those that choose their own."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in AGENTS]
    ports = {name: each.getsockname()[1] for name, each in zip(AGENTS, sockets, strict=True)}
    for each in sockets:
        each.close()
    return {"num_cpus": 2, **ports}


def main() -> None:
    """Run the cluster."""
    for attempt in range(5):  # a busy machine needs more than the 15 s that Ray allows the dashboard's agent
        try:
            cluster = Cluster(initialize_head=True, head_node_args={**node(), **QUIET})
            second = cluster.add_node(**node())
            break
        except Exception:
            ray.shutdown()
            if attempt == 4:
                raise
    sys.stdout.write(f"{cluster.address}\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        cluster.remove_node(second, allow_graceful=False)
        sys.stdout.write("removed\n")
        sys.stdout.flush()
    cluster.shutdown()


if __name__ == "__main__":
    main()
