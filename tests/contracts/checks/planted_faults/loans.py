"""Loans of a library. docs/contract-checks.md plants faults in this code too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acme.books.v1.books_pb2 import GetBookRequest, ListBooksRequest
from acme.loans.v1.loans_pb2_grpc import LoanServiceServicer, LoanServiceStub
from acme.members.v1 import members_pb2
from contracts import errors

if TYPE_CHECKING:
    from acme.books.v1.books_pb2_grpc import BookServiceStub
    from acme.members.v1.members_pb2_grpc import MemberServiceStub


class LoanServicer(LoanServiceServicer):
    def __init__(self, books: BookServiceStub, members: MemberServiceStub) -> None:
        self._books = books
        self._members = members

    async def LendBook(self, request, context):
        await self._members.GetMember(members_pb2.GetMemberRequest(member_id=request.member_id))
        await self._books.GetBook(GetBookRequest(book_id=request.book.book_id))
        async with self._transaction() as tx:
            if not await tx.lend(request.book):
                raise errors.EtagMismatch
            await tx.call_later(self._members.SendMail, members_pb2.SendMailRequest(member_id=request.member_id))

    async def RenewLoan(self, request, context):
        await self._members.FindMember(members_pb2.FindMemberRequest())

    async def GetLoan(self, request, context):
        await self._books.ListBooks(ListBooksRequest())

    # End of LoanServicer.


async def answer_http(request, channels):
    loans = channels.stub(LoanServiceStub)
    return await loans.GetLoan(request)
