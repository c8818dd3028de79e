"""Metrics of the services, read from their Prometheus pages: rates, errors and durations of each call.

`addresses.py` names the pages, `page.py` reads one, and `reading.py` parses it. `window.py` keeps the increases of its
counters for half a minute. `tally.py` adds them up, `traffic.py` joins them with the call graph of the contracts, and
`reader.py` puts all of it together.
"""
