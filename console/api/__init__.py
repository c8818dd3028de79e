"""API of the console: the methods of the services as JSON over HTTP, by the unary and streaming protocol of Connect.

`connect.py` is the application for all methods. A call needs an API key in its headers; no cookie counts. The console
passes the call on with that key, so the services decide what the caller may do. `document.py` serves the OpenAPI
document of these methods, and `reference.py` shows it with Scalar.

The protocol is described at https://connectrpc.com/docs/protocol.
"""
