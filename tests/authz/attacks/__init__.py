"""Scripts that try to get a widening past the gate, and their legitimate twins."""
