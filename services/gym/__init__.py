"""The gym service: gyms with their prices, opening hours and rules."""
