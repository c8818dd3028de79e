"""Plain messages: a quick look that accepts a message only if it surely breaks no rule.

Most messages are plain: ASCII texts and numbers within simple rules. protovalidate decides on all others. Only
protovalidate makes violations, so this package can save work but never reject a message. Decision record 38 has the
reasons.
"""
