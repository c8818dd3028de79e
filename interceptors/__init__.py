"""Server and client interceptors, one module per concept.

Each server interceptor also works alone in `grpc.aio.server(interceptors=[...])`. Several form a
`interceptors.chain.server.ServerChain`.

The examples in the docstrings run as tests. Their function `ask` serves an echo behind the given interceptors and calls
it once over a real socket. It returns the response text or the reason of the error.
"""
