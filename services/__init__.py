"""The seven services of Solo60."""
