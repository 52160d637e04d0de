"""A line as of lme4 and a data frame, as tasks and a plain Pyro model whose source is shown.

- `errors`: the error that formulas raise, and checks of a frame's columns
- `parsing`: a formula taken apart, its brackets with a bar from the rest
- `design`: its columns, as the package formulae makes them, on the frame and on new ones
- `outcome`: its left side
- `families`: families of outcomes, their priors and their lines of the source
- `grouping`: which factor is the task, and where another one stands
- `plan`: what the source is written of, and the names of its sites
- `layout`: the rows of a frame as tasks in the columns that the model reads
- `statements`: lines of Pyro as text
- `source`: the text of the model
- `tables`: what a posterior says of coefficients and groups
- `prediction`: outcomes of new rows, of groups that are known and of new ones
- `formula`: all of that on one object: `Formula`
"""

from bayesmeta.formula import families
from bayesmeta.formula.errors import FormulaError
from bayesmeta.formula.formula import Formula, formula

__all__ = ["Formula", "FormulaError", "families", "formula"]
