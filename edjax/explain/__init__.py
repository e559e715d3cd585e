"""Why a network predicts what it does: contributions of atoms and places."""

from edjax.explain.explainer import Explainer, Explanation
from edjax.explain.references import EMPTY, FREE_ATOMS

__all__ = ['EMPTY', 'FREE_ATOMS', 'Explainer', 'Explanation']
