"""Machinery that composes interceptors around calls: server chain, client channel, handlers."""
