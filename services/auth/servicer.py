"""RPC handlers of the auth service, composed of the handlers of its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.auth.accounts.servicer import AccountServicer
from services.auth.codes.owner import CodeOwners
from services.auth.erasure.servicer import ErasureServicer
from services.auth.log_ins.servicer import LogInServicer
from services.auth.mails.servicer import MailServicer
from services.auth.passwords.servicer import PasswordServicer
from services.auth.tokens.servicer import TokenServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from services.auth.passwords.hasher import Hasher
    from services.auth.stores import Stores
    from services.auth.tokens.issuer import TokenIssuer
    from services.auth.user_directory import UserDirectory
    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub


class AuthServicer(AccountServicer, LogInServicer, TokenServicer, PasswordServicer, MailServicer, ErasureServicer):
    """All RPC handlers. `now` returns the current time in UTC."""

    def __init__(
        self,
        stores: Stores,
        hasher: Hasher,
        issuer: TokenIssuer,
        users: UserDirectory,
        communication: CommunicationServiceAsyncStub,
        now: Callable[[], datetime],
    ) -> None:
        self._stores = stores
        self._hasher = hasher
        self._issuer = issuer
        self._users = users
        self._code_owners = CodeOwners(users)
        self._communication = communication
        self._now = now
