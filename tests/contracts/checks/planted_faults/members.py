"""Members of a library."""

from __future__ import annotations

from acme.members.v1.members_pb2 import MemberLeft


async def leave(tx, member_id):
    await tx.publish(MemberLeft(member_id=member_id))
