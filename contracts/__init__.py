"""What the contracts say: the policy of every method, its errors, and what follows from both."""
