"""Metadata keys of calls that servers, clients and test doubles of a contract use."""

API_KEY = "x-api-key"
CORRELATION_ID = "x-correlation-id"
IDEMPOTENCY_KEY = "idempotency-key"
# Sent with the response if it is the stored response of an earlier call with the same key.
REPLAYED = "idempotent-replayed"
# Serialized google.rpc.Status of a rejected call.
STATUS_DETAILS = "grpc-status-details-bin"
