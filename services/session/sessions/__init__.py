"""Sessions: bookings of a gym by a member, as stored and as read."""
