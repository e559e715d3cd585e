"""Trains and evaluates edjax from the command line.

python launch.py --config configs/qm9_density.py
"""

from edjax import command_line

if __name__ == '__main__':
  command_line.main()
