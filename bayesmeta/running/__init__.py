"""A model as it runs once: its statements, and the handlers around it.

- `isolation`: the process left as it was found
- `sites`: the statements of a model as they ran
- `followed`: what each value was computed from
- `handlers`: a model and its tasks under Pyro's handlers
"""
