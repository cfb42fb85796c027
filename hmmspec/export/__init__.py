"""Other checkers' languages: a System as a SPIN or a Rumur model, so that anyone can check it with those."""
