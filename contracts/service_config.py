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

# gRFC A6: calls are sent again while more than half of the tokens are there. A failure takes one, a success gives a
# tenth. So where 5 % of all attempts fail, one failure of 17,000 is not followed by a retry for want of tokens (with 10
# tokens, one of 115), and once all fail, less than ten are.
MAX_TOKENS = 20
TOKEN_RATIO = 0.1
# gRFC A50: an address of several is given no calls for a while once nine of ten have failed there, which the core
# counts every half second, and whatever went wrong, refusals too. Of two or three addresses one may be ejected, of more
# never more than half: where all fail, the addresses are not what is wrong.
OUTLIER_DETECTION = {
    "interval": "0.5s",
    "baseEjectionTime": "5s",
    "maxEjectionTime": "60s",
    # Another address is ejected while fewer than these are: at 50, it would be two of three.
    "maxEjectionPercent": 33,
    "failurePercentageEjection": {
        "threshold": 90,
        "enforcementPercentage": 100,
        "minimumHosts": 2,
        "requestVolume": 5,
    },
    "childPolicy": [{"round_robin": {}}],
}


def service_config(service: ServiceDescriptor) -> str:
    """Return the service config for a channel to `service`, as JSON.

    Methods are sent again only as their policy says; addresses take turns; one that fails while others do not gets no
    calls for a while (gRFC A50), and neither does one whose health check for this service says NOT_SERVING (gRFC A17).
    """
    config = {
        "loadBalancingConfig": [{"outlier_detection_experimental": OUTLIER_DETECTION}],
        "healthCheckConfig": {"serviceName": service.full_name},
        "retryThrottling": {"maxTokens": MAX_TOKENS, "tokenRatio": TOKEN_RATIO},
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
