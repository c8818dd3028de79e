"""Pages `/internal/docs`: the contracts, and calls of any method.

`page.py` lists everything, with a search. `types.py` and `reasons.py` show one message, enum or error. `method.py`
shows one method, and `try_it.py` calls it.
"""
