"""Example client for a running mesh: SERVICE_API_KEY_FILE=.data/keys/operator python examples/call_a_service.py"""

import asyncio

from contracts.errors import GymNotFound
from mesh.serving.channel import connect
from solo60.gym.v1.gym_pb2 import GetGymRequest
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub


async def main() -> None:
    async with connect(GymServiceStub) as gyms:
        try:
            await gyms.GetGym(GetGymRequest(gym_id="0198c1a2-0000-7000-8000-000000000000"))
        except GymNotFound as error:
            print(error.code.name, error.reason_name(), error.correlation_id)


asyncio.run(main())
