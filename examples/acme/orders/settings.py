"""Settings of server and client, from the environment: address and folder of the API keys."""

import os
from pathlib import Path

ADDRESS = os.environ.get("ORDERS_ADDRESS", "127.0.0.1:50100")
# One file per caller. A real server stores only hashes of the keys, and each caller has only its own key.
KEYS = Path(os.environ.get("ORDERS_KEYS", "keys"))
