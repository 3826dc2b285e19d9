"""The tables of policies: their versions, and how much of their windows is used up."""
