"""Passwords: their hashes, the most common ones, and the RPC handlers that set them."""
