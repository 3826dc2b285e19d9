"""The tables of policies: their versions, and what was taken of their windows."""
