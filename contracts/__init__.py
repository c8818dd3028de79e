"""Contracts as Python objects, and tools for the contracts of any project.

For clients and servers:

    policy, method                  policy of a method, and the method itself
    services, scopes, events        services of this repository, scopes of their keys, and subscribers of their events
    errors, status, codes           errors of calls, their google.rpc.Status, and sets of status codes
    request_violations, violations  rules that a message breaks
    plain/                          fast path: messages that surely break no rule
    mail_address, canonical         forms of addresses and other values
    redaction, declarations         messages without personal data, and undeclared calls and errors
    service_config, metadata        settings of gRPC's core, and metadata keys

For any contracts:

    image, workspace, settings      descriptors with the lines of their sources, and the buf workspace with them
    checks/                         faults before anything runs (docs/contract-checks.md)
    diff/                           changes that break callers (docs/contract-changes.md)
    documents/                      OpenAPI and Markdown in gen/docs
    drawing/                        pictures of the call graph, of `edges` and `call_graph`
    codegen/                        plugins for buf, and scripts that prepare its inputs
    source/                         calls, events and errors in Python code, for the checks that compare it
    testing/                        contract tests of consumers and providers (docs/contract-testing.md)
"""
