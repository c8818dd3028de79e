"""The five services of a booking, written straightforwardly with FastAPI and httpx, for comparison with the mesh.

The SQL and the business rules are the mesh's own, through its stores. The rest is plain: JSON over HTTP/1.1, pydantic
models, an API key in a header, and one call after the other. There is no outbox, no deadline, no retry, no tracing and
no access log, so a crash between two calls loses the mail or the money.
"""
