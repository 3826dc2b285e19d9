"""The language of policies: what a document may hold; it is parsed once, and strictly."""
