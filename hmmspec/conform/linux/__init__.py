"""Linux as a target."""
