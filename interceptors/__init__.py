"""Interceptors: one module for each concept, its client half and its server half together."""
