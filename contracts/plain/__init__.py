"""Plain messages: the fast path before protovalidate, which accepts a message only if it surely breaks no rule.

Most messages are plain: ASCII texts and numbers within simple rules. protovalidate checks all others. So this package
saves work, but it never rejects a message. docs/adr/0038-a-fast-path-before-protovalidate.md gives the reasons.

    messages     predicate of each message type, compiled once from the rules of its fields
    values       rules of fields, lists and maps
    texts        rules of string fields
    patterns     regular expressions that Python and RE2 read alike
    expressions  expressions of CEL that have an equivalent in Python
    rules        rules that are set in an option of protovalidate
    predicates   predicates that accept all values or none, and their conjunction
"""
