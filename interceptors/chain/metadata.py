"""Metadata keys that several modules of the chain use. Each other key is in the module of its interceptor."""

# Number of times that gRPC's core has sent the call before (gRFC A6).
PREVIOUS_ATTEMPTS = "grpc-previous-rpc-attempts"
# Milliseconds until a client may send a rejected call again; below 0, never (gRFC A6).
PUSHBACK_MS = "grpc-retry-pushback-ms"
# Number of a hedged call's attempt. The first attempt carries none.
HEDGE_ATTEMPT = "x-hedge-attempt"
