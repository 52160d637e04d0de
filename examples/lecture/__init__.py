"""The lecture, computed: each claim as a number that inference finds, beside its closed form."""
