"""Why a network predicts what it does: contributions of atoms and places."""

from edjax.explain.explainer import Explainer, Explanation
from edjax.explain.files import Settings, explain_files
from edjax.explain.references import EMPTY, FREE_ATOMS

__all__ = [
  'EMPTY',
  'FREE_ATOMS',
  'Explainer',
  'Explanation',
  'Settings',
  'explain_files',
]
