"""Metadata of an outgoing call, for channels that want grpc.aio's own type."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING

import grpc.aio

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Pair = tuple[str, str | bytes]


class SentMetadata(grpc.aio.Metadata):
    """Metadata of pairs, as grpc.aio sends them.

    grpc.aio converts anything but its own type into a mapping of lists and back into pairs, which takes longer than
    all interceptors that add metadata. Here the mapping is made when an interceptor of grpc.aio in the channel below
    reads or changes it.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs

    @cached_property
    def _metadata(self) -> OrderedDict[str, list[str | bytes]]:
        values: OrderedDict[str, list[str | bytes]] = OrderedDict()
        for key, value in self._pairs:
            values.setdefault(key, []).append(value)
        return values

    def __iter__(self) -> Iterator[Pair]:
        return super().__iter__() if "_metadata" in self.__dict__ else iter(self._pairs)

    def __len__(self) -> int:
        return super().__len__() if "_metadata" in self.__dict__ else len(self._pairs)
