"""Example client with gen/ and grpcio only: SERVICE_API_KEY_FILE=.data/keys/operator python call_with_grpcio.py"""

import os
from pathlib import Path

import grpc

from solo60.gym.v1.gym_pb2 import ListGymsRequest
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub

address = os.environ.get("GYM_SERVICE_URL", "127.0.0.1:50053")
key = Path(os.environ["SERVICE_API_KEY_FILE"]).read_text(encoding="utf-8").strip()

with grpc.insecure_channel(address) as channel:
    # Plain grpcio applies no contract, so the caller sets the deadline and the key.
    page = GymServiceStub(channel).ListGyms(ListGymsRequest(page_size=3), timeout=2, metadata=(("x-api-key", key),))
    for gym in page.gyms:
        print(gym.gym_id, gym.name)
