"""Policy diff: changes of contracts that break callers and that `buf breaking` does not see.

python -m contracts diff main
python -m contracts diff before.binpb after.binpb
"""

from contracts.diff.change import Change, Severity
from contracts.diff.comparison import changes_between

__all__ = ["Change", "Severity", "changes_between"]
