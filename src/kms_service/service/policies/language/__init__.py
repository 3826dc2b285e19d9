"""The language that policies are written in: what a document may hold, read strictly, once."""
