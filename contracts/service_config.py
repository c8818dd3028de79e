"""gRPC service config, generated from the contract: retries, load balancing and connection draining.

The config contains no `timeout`: with one, the core would end calls early and not inform the server. Each call has its
own deadline instead.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from contracts.method import methods_of

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor

    from contracts.policy import Retry

# gRFC A6: calls are retried while more than half of the tokens are left. A failure takes one token, a success returns a
# tenth. If 5 % of all attempts fail, tokens prevent the retry of one failure in 17,000 (with 10 tokens, one in 115). If
# all attempts fail, fewer than ten are retried.
MAX_TOKENS = 20
TOKEN_RATIO = 0.1
# gRFC A50: one of several addresses is ejected for a while if nine of ten calls fail there. The core counts every half
# second, and every error counts, including rejections. Of two or three addresses one may be ejected, and of more at
# most half: if all addresses fail, the cause is elsewhere.
OUTLIER_DETECTION = {
    "interval": "0.5s",
    "baseEjectionTime": "5s",
    "maxEjectionTime": "60s",
    # The core ejects another address while the ejected share is below this value: 50 would eject two of three.
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

    Calls are retried only as the method's policy says, and are balanced round-robin over the addresses. An address gets
    no calls for a while if it fails and others do not (gRFC A50), or if its health check for this service reports
    NOT_SERVING (gRFC A17).
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
        "initialBackoff": _duration(retry.initial_backoff_s),
        "maxBackoff": _duration(retry.max_backoff_s),
        "backoffMultiplier": round(retry.backoff_multiplier, 6),
        "retryableStatusCodes": [code.name for code in retry.codes],
    }


def _duration(seconds: float) -> str:
    """Return a duration as JSON writes it: without an exponent, and with at most nine digits after the point."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"
