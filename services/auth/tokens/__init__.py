"""Access tokens: the keys that sign them, and the RPC handlers that verify them."""
