"""Offers of freed slots to one waiting member at a time."""
