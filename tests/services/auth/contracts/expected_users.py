"""Users that the auth service expects of the user service, by id or by email address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from contracts.errors import UserNotFound
from solo60.user.v1.user_pb2 import (
    USER_STATE_ACTIVE,
    GetUserByEmailRequest,
    GetUserByEmailResponse,
    GetUserRequest,
    GetUserResponse,
    UpdateUserRequest,
    UpdateUserResponse,
    User,
    UserState,
)
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.auth.contracts.auth_consumer import EMAIL, USER_ID, a_user

if TYPE_CHECKING:
    from contracts.errors import ServiceError
    from tests.services.auth.contracts.auth_consumer import AuthConsumer

UNCONFIRMED = "an active user with an unconfirmed email address"


def expect_user(consumer: AuthConsumer, state: str, user: User, *unset: str) -> None:
    """Expect that the user service finds the user by id."""
    consumer.expectations.of(UserServiceStub).given(state, user_id=USER_ID, email=EMAIL).GetUser(
        request=GetUserRequest(user_id=USER_ID), answer=GetUserResponse(user=user), unset=unset
    )


def expect_active_user(consumer: AuthConsumer) -> None:
    """Expect an active user with all fields that tokens and mails need."""
    expect_user(consumer, "an active user", a_user())


def expect_unconfirmed_user(consumer: AuthConsumer) -> None:
    """Expect a user who has to confirm the address."""
    user = User(user_id=USER_ID, email=EMAIL, display_name="Ada Byron", state=USER_STATE_ACTIVE)
    expect_user(consumer, UNCONFIRMED, user, "user.email_confirmed")


def expect_user_in(consumer: AuthConsumer, sentence: str, state: UserState.ValueType) -> None:
    """Expect a user, and read nothing but the state."""
    expect_user(consumer, sentence, User(state=state))


def expect_no_user(consumer: AuthConsumer) -> None:
    """Expect USER_NOT_FOUND for an unknown id."""
    consumer.expectations.of(UserServiceStub).given("no user", user_id=USER_ID).GetUser(
        request=GetUserRequest(user_id=USER_ID), error=UserNotFound()
    )


def expect_user_by_email(consumer: AuthConsumer, state: str, user: User, *unset: str, email: str = EMAIL) -> None:
    """Expect that the user service finds the user by email address."""
    consumer.expectations.of(UserServiceStub).given(state, user_id=USER_ID, email=email).GetUserByEmail(
        request=GetUserByEmailRequest(email=email), answer=GetUserByEmailResponse(user=user), unset=unset
    )


def expect_active_user_by_email(consumer: AuthConsumer) -> None:
    """Expect an active user with all fields that a log-in needs."""
    user = User(user_id=USER_ID, roles=a_user().roles, state=USER_STATE_ACTIVE, email_confirmed=True)
    expect_user_by_email(consumer, "an active user", user)


def expect_no_user_by_email(consumer: AuthConsumer) -> None:
    """Expect USER_NOT_FOUND for an unknown address."""
    consumer.expectations.of(UserServiceStub).given("a free email address", email=EMAIL).GetUserByEmail(
        request=GetUserByEmailRequest(email=EMAIL), error=UserNotFound()
    )


def expect_update(consumer: AuthConsumer, state: str, error: ServiceError | None = None) -> None:
    """Expect an answer to the confirmation of the address."""
    confirmed = User(user_id=USER_ID, email=EMAIL, email_confirmed=True)
    consumer.expectations.of(UserServiceStub).given(state, user_id=USER_ID, email=EMAIL).UpdateUser(
        request=UpdateUserRequest(user=confirmed, update_mask=FieldMask(paths=["email", "email_confirmed"])),
        answer=None if error else UpdateUserResponse(),
        error=error,
    )
