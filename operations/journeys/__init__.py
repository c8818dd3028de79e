"""Journeys: one booking or subscription from end to end, across services.

`subjects.py` reads its current state, `evidence.py` collects its outbox messages, log lines and spans, and `steps.py`
makes steps of them. `journey.py` puts everything together.
"""
