"""Service config: what gRPC's core does for a client (retries, balancing, draining), written from the contract.

The config never carries a `timeout`: the core would end calls before their time and tell the server nothing. The
deadline is set on each call instead.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from contracts.method import methods_of

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor

    from contracts.policy import Retry

# gRFC A6: at most every tenth call on top of the first attempts once a server keeps failing.
RETRY_THROTTLING = {"maxTokens": 10, "tokenRatio": 0.1}


def service_config(service: ServiceDescriptor) -> str:
    """Return the service config for a channel to `service`, as JSON.

    Methods are sent again only as their policy says; addresses take turns; an address whose health check for this
    service says NOT_SERVING gets no calls (gRFC A17).
    """
    config = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": service.full_name},
        "retryThrottling": RETRY_THROTTLING,
        "methodConfig": [
            {
                "name": [{"service": method.service, "method": method.name}],
                "retryPolicy": _retry_policy(method.policy.retry),
            }
            for method in methods_of(service)
            if method.policy.retry is not None
        ],
    }
    return json.dumps(config)


def _retry_policy(retry: Retry) -> dict[str, Any]:
    return {
        "maxAttempts": retry.max_attempts,
        "initialBackoff": f"{retry.initial_backoff_s:.9g}s",
        "maxBackoff": f"{retry.max_backoff_s:.9g}s",
        "backoffMultiplier": round(retry.backoff_multiplier, 6),
        "retryableStatusCodes": [code.name for code in retry.codes],
    }
