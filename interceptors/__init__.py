"""Interceptors: one module for each concept, its client half and its server half together.

Each stands alone in `grpc.aio.server(interceptors=[...])`; `interceptors.server.ServerChain` makes one chain of many.
In the examples of their docstrings, which are run as tests, `ask` serves an echo behind the interceptors it is given,
calls it once over a real socket, and returns the answered text or the reason of the refusal.
"""
