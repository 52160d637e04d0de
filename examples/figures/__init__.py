"""The drawing of the examples' figures, apart from what they show."""
