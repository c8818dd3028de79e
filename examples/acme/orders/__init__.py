"""Server of `acme.orders.v1`, with the interceptors and without the mesh."""
