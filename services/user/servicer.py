"""RPC handlers of the user service."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from contracts.mail_address import canonical
from mesh.data.etags import require_etag
from mesh.data.pages import page_of
from services.user.domain import found
from services.user.wire import (
    parse_changes,
    parse_filter,
    parse_profile,
    parse_roles,
    render_roles,
    render_state,
    render_user,
)
from solo60.user.v1.events_pb2 import UserLeft
from solo60.user.v1.user_pb2 import (
    ROLE_MATCH_ANY,
    BatchGetUsersResponse,
    CheckRolesResponse,
    CompleteErasureResponse,
    CreateUserResponse,
    EraseUserResponse,
    GetUserByEmailResponse,
    GetUserResponse,
    SearchUsersResponse,
    UpdateUserResponse,
    ValidateUserResponse,
)
from solo60.user.v1.user_pb2_grpc import UserServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import grpc.aio

    from mesh.transaction import Transaction
    from services.user.domain import Profile
    from services.user.erasure import Erasure
    from services.user.store import UserStore
    from solo60.user.v1.user_pb2 import (
        BatchGetUsersRequest,
        CheckRolesRequest,
        CompleteErasureRequest,
        CreateUserRequest,
        EraseUserRequest,
        GetUserByEmailRequest,
        GetUserRequest,
        SearchUsersRequest,
        UpdateUserRequest,
        ValidateUserRequest,
    )


class UserServicer(UserServiceServicer):
    """RPC handlers of the user service. `now` returns the current time in UTC."""

    def __init__(self, store: UserStore, erasure: Erasure, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._erasure = erasure
        self._now = now

    async def GetUser(
        self, request: GetUserRequest, context: grpc.aio.ServicerContext[GetUserRequest, GetUserResponse]
    ) -> GetUserResponse:
        return GetUserResponse(user=render_user(found(await self._store.find(UUID(request.user_id)))))

    async def GetUserByEmail(
        self,
        request: GetUserByEmailRequest,
        context: grpc.aio.ServicerContext[GetUserByEmailRequest, GetUserByEmailResponse],
    ) -> GetUserByEmailResponse:
        return GetUserByEmailResponse(
            user=render_user(found(await self._store.find_by_email(canonical(request.email))))
        )

    async def BatchGetUsers(
        self,
        request: BatchGetUsersRequest,
        context: grpc.aio.ServicerContext[BatchGetUsersRequest, BatchGetUsersResponse],
    ) -> BatchGetUsersResponse:
        found = await self._store.find_many([UUID(user_id) for user_id in request.user_ids])
        answer = BatchGetUsersResponse()
        for user_id in request.user_ids:
            user = found.get(UUID(user_id))
            if user is None:
                answer.missing_user_ids.append(user_id)
            else:
                answer.users.append(render_user(user))
        return answer

    async def ValidateUser(
        self, request: ValidateUserRequest, context: grpc.aio.ServicerContext[ValidateUserRequest, ValidateUserResponse]
    ) -> ValidateUserResponse:
        user = await self._store.find(UUID(request.user_id))
        if user is None:
            return ValidateUserResponse(valid=False)
        return ValidateUserResponse(valid=user.is_active, state=render_state(user.profile.state))

    async def CheckRoles(
        self, request: CheckRolesRequest, context: grpc.aio.ServicerContext[CheckRolesRequest, CheckRolesResponse]
    ) -> CheckRolesResponse:
        user = found(await self._store.find(UUID(request.user_id)))
        roles = parse_roles(request.roles)
        allowed = user.has_any(roles) if request.match == ROLE_MATCH_ANY else user.has_all(roles)
        return CheckRolesResponse(allowed=allowed, missing_roles=render_roles(user.missing_roles(roles)))

    async def SearchUsers(
        self, request: SearchUsersRequest, context: grpc.aio.ServicerContext[SearchUsersRequest, SearchUsersResponse]
    ) -> SearchUsersResponse:
        page = page_of(request)
        matches = await self._store.search(parse_filter(request), page.limit, after=page.after(UUID))
        users, next_page_token = page.cut(matches, lambda last: last.user_id)
        return SearchUsersResponse(users=map(render_user, users), next_page_token=next_page_token)

    async def CreateUser(
        self, request: CreateUserRequest, context: grpc.aio.ServicerContext[CreateUserRequest, CreateUserResponse]
    ) -> CreateUserResponse:
        profile = parse_profile(request)
        async with self._store.transaction() as tx:
            return await tx.once(request, CreateUserResponse, partial(self._create_user, tx, profile))

    async def UpdateUser(
        self, request: UpdateUserRequest, context: grpc.aio.ServicerContext[UpdateUserRequest, UpdateUserResponse]
    ) -> UpdateUserResponse:
        changes = parse_changes(request)
        async with self._store.transaction() as tx:
            user = found(await self._store.lock(tx, UUID(request.user.user_id)))
            changed = user.with_changes(changes, self._now())
            # An automatic retry of an applied update has an outdated etag, and succeeds.
            if request.user.etag and changed != user:
                require_etag(request.user.etag, render_user(user).etag)
            await self._store.save(tx, changed)
            if changed.has_left and not user.has_left:
                await tx.publish(UserLeft(user_id=str(user.user_id)))
        return UpdateUserResponse(user=render_user(changed))

    async def EraseUser(
        self, request: EraseUserRequest, context: grpc.aio.ServicerContext[EraseUserRequest, EraseUserResponse]
    ) -> EraseUserResponse:
        response = EraseUserResponse()
        response.erase_time.FromDatetime(await self._erasure.begin(UUID(request.user_id)))
        return response

    async def CompleteErasure(
        self,
        request: CompleteErasureRequest,
        context: grpc.aio.ServicerContext[CompleteErasureRequest, CompleteErasureResponse],
    ) -> CompleteErasureResponse:
        await self._erasure.complete(UUID(request.user_id))
        return CompleteErasureResponse()

    async def _create_user(self, tx: Transaction, profile: Profile) -> CreateUserResponse:
        user = await self._store.add(tx, profile, self._now())
        return CreateUserResponse(user=render_user(user))
